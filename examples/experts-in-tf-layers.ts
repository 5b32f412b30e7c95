/** A mixture of experts inside a tf.layers model, its balance loss included: trained, saved, and opened again. */
import { type MoeOutput, moe, moeSpecs, tokenChoice } from '@dit-moe/moe';
import * as tf from '@tensorflow/tfjs';

const specs = Object.entries(moeSpecs({ width: 4, experts: { count: 4, hidden: 16 } }));
class Experts extends tf.layers.Layer {
  static className = 'Experts';
  private routed: Pick<MoeOutput, 'losses'> | undefined;
  override build() {
    for (const [name, { shape }] of specs) this.addWeight(name, shape, 'float32', tf.initializers.glorotUniform({}));
    this.addLoss(() => tf.mul(this.routed?.losses['balance'] ?? 0, 0.01));
  }
  override call(inputs: tf.Tensor | tf.Tensor[]) {
    const weights = Object.fromEntries(specs.map(([name], i) => [name, this.weights[i]?.read() ?? tf.zeros([0])]));
    return (this.routed = moe(tf.concat([inputs].flat()), weights, { selector: tokenChoice(2) })).output;
  }
}
tf.serialization.registerClass(Experts);
const model = tf.sequential({ layers: [tf.layers.dense({ units: 4, inputShape: [4] }), new Experts({})] });
model.compile({ optimizer: tf.train.adam(0.01), loss: 'meanSquaredError' });
const [x, saved] = [tf.randomNormal([256, 4], 0, 1, 'float32', 1), {} as tf.io.ModelArtifacts];
console.log((await model.fit(x, tf.square(x), { epochs: 20, verbose: 0 })).history['loss']);
await model.save({ save: async (all) => ({ modelArtifactsInfo: tf.io.getModelArtifactsInfoForJSON(Object.assign(saved, all)) }) });
tf.sub((await tf.loadLayersModel(tf.io.fromMemory(saved))).predict(x) as tf.Tensor, model.predict(x) as tf.Tensor).print(); // zeros
