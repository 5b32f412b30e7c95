import { finish, objective, sample } from '@dit-moe/diffusion';
import { AdamW, compile, linear, Parameter, randomNormalBatch, randomUniformBatch, silu, valueAndGrads } from '@dit-moe/tensor-ops';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs-core';

await useTensorFlow();
const spiral = (u: tf.Tensor) => tf.mul(tf.mul(u, 2), tf.concat([tf.cos(tf.mul(u, 9)), tf.sin(tf.mul(u, 9))], 1)); // [B, 1] to [B, 2]
const sizes = [4, 128, 128, 128, 2]; // a point, its time and a constant in; its velocity out
const layers = sizes.slice(1).map((size, i) => {
  const initial = () => tf.randomNormal([sizes[i]!, size], 0, sizes[i]! ** -0.5, 'float32', i + 1);
  return [`layer ${i}`, Parameter.create(`layer ${i}`, initial)] as const;
});
const read = () => Object.fromEntries(layers.map(([name, layer]) => [name, layer.read()]));
const mlp = (weights: Record<string, tf.Tensor>, x: tf.Tensor, t: tf.Tensor) =>
  Object.values(weights).reduce((h, w, i) => linear(i > 0 ? silu(h) : h, w), tf.concat([x, tf.stack([t, tf.onesLike(t)], 1)], 1));

const { draw, loss, model } = objective({ kind: 'flow' });
const optimizer = new AdamW(Object.fromEntries(layers));
const train = compile((u: tf.Tensor, noise: tf.Tensor, drawn: tf.Tensor) => {
  const weights = read();
  const { value, grads } = valueAndGrads(() => ({ loss: loss((x, t) => mlp(weights, x, t), spiral(u), noise, drawn) }), weights);
  optimizer.apply(grads, 2e-3);
  return value;
});
for (let step = 0; step < 2000; step++) {
  const batch = (purpose: string) => ({ seed: 1, purpose, indices: Array.from({ length: 256 }, (_, i) => 256 * step + i) });
  const inputs = [randomUniformBatch(batch('data'), [1]), randomNormalBatch(batch('noise'), [2]), draw(batch('time'))] as const;
  tf.dispose([await train.run(...inputs), ...inputs]);
}
export const trained = model((x, t) => tf.tidy(() => mlp(read(), x, t)));
export const start = tf.randomNormal([2000, 2], 0, 1, 'float32', 1);
export const points = await finish(sample(trained, start, { solver: 'heun', steps: 10 })); // [2000, 2]
