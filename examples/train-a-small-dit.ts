/** Trains a small DiT-MoE on pictures whose left (class 0) or right half (class 1) is bright, and samples one of each. */
import { finish, objective, sample } from '@dit-moe/diffusion';
import { dit, preset, weightSpecs } from '@dit-moe/dit';
import { AdamW, compile, ParameterSet, randomNormalBatch, valueAndGrads } from '@dit-moe/tensor-ops';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs-core';

await useTensorFlow();
const shape = { inputSize: [8, 8], inChannels: 1, hiddenSize: 64, depth: 2, numHeads: 2, numClasses: 2, learnSigma: false } as const;
const config = { ...preset('S/2-8E2A'), ...shape };
const parameters = ParameterSet.create(weightSpecs(config), 0);
const [y, bright] = [tf.tensor1d([0, 1, 0, 1], 'int32'), tf.tensor4d([-1, 1, -1, 1], [4, 1, 1, 1])];
const x = tf.concat([tf.tile(tf.neg(bright), [1, 1, 8, 4]), tf.tile(bright, [1, 1, 8, 4])], 3); // [B, 1, 8, 8]
const { draw, loss, model } = objective({ kind: 'flow' });
const optimizer = new AdamW(parameters.parameters);
const denoiser = (noisy: tf.Tensor, t: tf.Tensor, weights = parameters.read()) => dit(weights, config, noisy, tf.mul(t, 1000), y).output;
const step = compile((noise, drawn) => {
  const weights = parameters.read();
  const { value, grads } = valueAndGrads(() => ({ loss: loss((noisy, t) => denoiser(noisy, t, weights), x, noise, drawn) }), weights);
  optimizer.apply(grads, 1e-3);
  return value;
});
for (let i = 0; i < 300; i++) {
  const batch = { seed: 1, purpose: 'noise', indices: [0, 1, 2, 3].map((k) => 4 * i + k) };
  const value = await step.run(randomNormalBatch(batch, [1, 8, 8]), draw({ ...batch, purpose: 'times' }));
  if (i % 100 === 0) console.log(i, value.dataSync());
}
const trained = model((noisy, t) => tf.tidy(() => denoiser(noisy, t)));
console.log(tf.mean(await finish(sample(trained, tf.randomNormal([4, 1, 8, 8]), { solver: 'euler', steps: 10 })), [1, 2]).arraySync());
