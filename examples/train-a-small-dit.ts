/** Trains a small DiT-MoE on dark (class 0) and bright pictures (class 1), and samples two of each. */
import { finish, objective, sample } from '@dit-moe/diffusion';
import { dit, preset, weightSpecs, withInputSize } from '@dit-moe/dit';
import { AdamW, compile, ParameterSet, randomNormalBatch, valueAndGrads } from '@dit-moe/tensor-ops';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs-core';

await useTensorFlow();
const config = withInputSize({ ...preset('S/2-8E2A'), inChannels: 1, hiddenSize: 96, depth: 2, numClasses: 2, learnSigma: false }, [4, 4]);
const parameters = ParameterSet.create(weightSpecs(config), 0);
const optimizer = new AdamW(parameters.parameters);
const [y, x] = [tf.tensor1d([0, 1, 0, 1], 'int32'), tf.tile(tf.tensor4d([-1, 1, -1, 1], [4, 1, 1, 1]), [1, 1, 4, 4])];
const { draw, loss, model } = objective({ kind: 'flow' });
const denoiser = (w: Record<string, tf.Tensor>) => (noisy: tf.Tensor, t: tf.Tensor) => dit(w, config, noisy, tf.mul(t, 1000), y).output;
const step = compile((noise, drawn) => {
  const weights = parameters.read();
  const { value, grads } = valueAndGrads(() => ({ loss: loss(denoiser(weights), x, noise, drawn) }), weights);
  optimizer.apply(grads, 1e-3);
  return value;
});
const at = (i: number) => ({ seed: 1, purpose: 'noise', indices: [i, i + 1, i + 2, i + 3] });
for (let i = 0; i < 800; i += 4) (await step.run(randomNormalBatch(at(i), [1, 4, 4]), draw({ ...at(i), purpose: 'times' }))).print(); // the loss
(await finish(sample(model(denoiser(parameters.read())), tf.randomNormal([4, 1, 4, 4]), { solver: 'euler', steps: 9 }))).print();
