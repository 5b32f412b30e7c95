import { compile, valueAndGrads } from '@dit-moe/tensor-ops';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, expect, test } from 'vitest';
import { dit } from './index.js';
import { sideBySide } from './side-by-side.js';
import { randomWeights, someInputs, tiny, tinyDense } from './testing/models.js';

beforeAll(async () => {
  await useTensorFlow();
});

test('samples are taken apart in a recorded step, and only there', async () => {
  const seen: number[] = [];
  const step = (x: tf.Tensor): tf.Tensor[] =>
    sideBySide([x, tf.ones([x.shape[0], 1])], (own, one) => {
      seen.push(own.shape[0]);
      return [tf.add(own, own), tf.add(own, one)];
    });
  for (const [samples, parts] of [
    [1, [1]],
    [3, [1, 2]],
    [10, [2, 3, 2, 3]],
  ] as const) {
    const x = tf.reshape(tf.range(0, 2 * samples), [samples, 2]);
    const [twice, more] = await compile(step).run(x);
    expect(seen.splice(0)).toEqual(parts);
    expect(twice.arraySync()).toEqual(tf.add(x, x).arraySync());
    expect(more.arraySync()).toEqual(tf.add(x, 1).arraySync());
    step(x);
    expect(seen.splice(0)).toEqual([samples]);
  }
});

test.each([
  ['experts', tiny],
  ['a dense layer', tinyDense],
])('a model with %s has the outputs and gradients that it has in one piece', async (_, config) => {
  const weights = randomWeights(config);
  const [x, t, y] = someInputs(config, 5);
  const step = () => {
    const { value, grads } = valueAndGrads(
      () => ({ loss: tf.mean(tf.square(dit(weights, config, x, t, y).output)) as tf.Scalar }),
      weights,
    );
    return [value, ...Object.keys(weights).map((name) => grads[name])];
  };
  const whole = step();
  const parts = await compile(step).run();
  // Sums over samples are added in another order.
  for (const [i, part] of parts.entries()) expect(part).toBeCloseTensor(whole[i], 1e-5);
});
