import { finish, objective, sample } from '@dit-moe/diffusion';
import { AdamW, compile, linear, mean, Parameter, randomNormalBatch, randomUniformBatch, silu, valueAndGrads } from '@dit-moe/tensor-ops';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs-core';

await useTensorFlow();
const moons = (uniform: tf.Tensor): tf.Tensor => {
  const [angle, which] = tf.split(tf.mul(uniform, Math.PI), 2, 1) as [tf.Tensor, tf.Tensor];
  const side = tf.sign(tf.cos(which)); // one half circle or the other
  return tf.concat([tf.sub(tf.cos(angle), tf.mul(side, 0.5)), tf.mul(side, tf.sub(tf.sin(angle), 0.25))], 1);
};
const sizes = [3, 128, 128, 128, 2]; // a point and its time in, its velocity out
const weights = sizes.slice(1).map((outputs, i) => {
  const [shape, deviation] = [[sizes[i]!, outputs], sizes[i]! ** -0.5];
  return Parameter.create(`${i}`, () => tf.randomNormal(shape, 0, deviation, 'float32', i + 1));
});
const biases = sizes.slice(1).map((outputs, i) => Parameter.create(`${i}.bias`, () => tf.zeros([outputs])));
const parameters = Object.fromEntries([...weights, ...biases].map((parameter) => [parameter.name, parameter]));
const read = () => Object.fromEntries(Object.entries(parameters).map(([name, parameter]) => [name, parameter.read()]));
const mlp = (w: Record<string, tf.Tensor>, x: tf.Tensor, t: tf.Tensor): tf.Tensor =>
  weights.reduce((h, { name }, i) => linear(i ? silu(h) : h, w[name]!, w[`${name}.bias`]!), tf.concat([x, tf.reshape(t, [-1, 1])], 1));

const { draw, noisy, losses, model } = objective({ kind: 'flow' });
const optimizer = new AdamW(parameters);
const train = compile((uniform: tf.Tensor, noise: tf.Tensor, drawn: tf.Tensor) => {
  const [w, clean] = [read(), moons(uniform)];
  const { x, t } = noisy(clean, noise, drawn);
  const { value, grads } = valueAndGrads(() => ({ loss: mean(losses(mlp(w, x, t), clean, noise, drawn).loss) }), w);
  optimizer.apply(grads, tf.scalar(2e-3));
  return value;
});
const indices = (start: number, count: number) => Array.from({ length: count }, (_, i) => start + i);
for (let step = 0; step < 1500; step++) {
  const batch = (purpose: string) => ({ seed: 1, purpose, indices: indices(256 * step, 256) });
  const inputs = [randomUniformBatch(batch('data'), [2]), randomNormalBatch(batch('noise'), [2]), draw(batch('time'))] as const;
  tf.dispose([await train.run(...inputs), ...inputs]);
}
const velocity = compile((x: tf.Tensor, t: tf.Tensor) => mlp(read(), x, t));
export const trained = model((x, t) => velocity.run(x, t));
export const start = randomNormalBatch({ seed: 2, purpose: 'sample', indices: indices(0, 2000) }, [2]);
export const points = await finish(sample(trained, start, { solver: 'heun', steps: 20 })); // [2000, 2]
