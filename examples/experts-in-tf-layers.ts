/** A mixture of experts inside a tf.layers model: trained, saved, and opened again. Its README adds the balance loss. */
import { moe, moeSpecs, tokenChoice } from '@dit-moe/moe';
import * as tf from '@tensorflow/tfjs';

class Experts extends tf.layers.Layer {
  static className = 'Experts';
  private readonly named: Record<string, tf.LayerVariable> = {};
  override build(shape: tf.Shape) {
    for (const [name, spec] of Object.entries(moeSpecs({ width: shape.at(-1) ?? 0, experts: { count: 4, hidden: 16 } })))
      this.named[name] = this.addWeight(name, spec.shape, 'float32', tf.initializers.glorotUniform({}));
  }
  override call(inputs: tf.Tensor | tf.Tensor[]) {
    const weights = Object.fromEntries(Object.entries(this.named).map(([name, variable]) => [name, variable.read()]));
    return moe(tf.concat([inputs].flat()), weights, { selector: tokenChoice(2) }).output;
  }
}
tf.serialization.registerClass(Experts);
const model = tf.sequential({ layers: [tf.layers.dense({ units: 4, inputShape: [4] }), new Experts({})] });
model.compile({ optimizer: tf.train.adam(0.01), loss: 'meanSquaredError' });
const x = tf.randomNormal([256, 4], 0, 1, 'float32', 1);
console.log((await model.fit(x, tf.square(x), { epochs: 20, verbose: 0 })).history['loss']);
const saved: tf.io.ModelArtifacts = {};
await model.save({ save: async (all) => ({ modelArtifactsInfo: tf.io.getModelArtifactsInfoForJSON(Object.assign(saved, all)) }) });
const opened = await tf.loadLayersModel(tf.io.fromMemory(saved));
console.log(tf.max(tf.abs(tf.sub(tf.concat([opened.predict(x)].flat()), tf.concat([model.predict(x)].flat())))).dataSync()); // 0
