import { compile, tensorFlowBackend, valueAndGrads } from '@dit-moe/tensor-ops';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, expect, test } from 'vitest';
import { dit } from './index.js';
import { sideBySide } from './side-by-side.js';
import { randomWeights, someInputs, tiny, tinyDense } from './testing/models.js';

const OPS_AT_ONCE = 3;

beforeAll(async () => {
  await useTensorFlow({ threads: 1, interOpThreads: OPS_AT_ONCE });
});

test('samples are taken apart for the ops that run at once, only while a step is recorded', async () => {
  const seen: number[] = [];
  const doubled = (x: tf.Tensor): tf.Tensor[] =>
    sideBySide([x, tf.ones([x.shape[0], 1])], (own, one) => {
      seen.push(own.shape[0]);
      return [tf.add(own, own), tf.add(own, one)];
    });
  const x = tf.reshape(tf.range(0, 8), [4, 2]);
  const [twice, more] = await compile(doubled).run(x);
  expect(seen).toEqual([1, 1, 2]);
  expect(twice.arraySync()).toEqual([
    [0, 2],
    [4, 6],
    [8, 10],
    [12, 14],
  ]);
  expect(more.arraySync()).toEqual([
    [1, 2],
    [3, 4],
    [5, 6],
    [7, 8],
  ]);
  seen.length = 0;
  doubled(x);
  expect(seen).toEqual([4]);
  seen.length = 0;
  await compile(doubled).run(tf.ones([2, 2]));
  expect(seen).toEqual([1, 1]);
});

test.each([
  ['experts', tiny],
  ['a dense layer', tinyDense],
])('a model with %s has the outputs and gradients that it has in one piece', async (_, config) => {
  const weights = randomWeights(config);
  const [x, t, y] = someInputs(config, 4);
  let atOnce = 0;
  const step = () => {
    atOnce = tensorFlowBackend()!.opsAtOnce;
    const { value, grads } = valueAndGrads(
      () => ({ loss: tf.mean(tf.square(dit(weights, config, x, t, y).output)) as tf.Scalar }),
      weights,
    );
    return [value, ...Object.keys(weights).map((name) => grads[name])];
  };
  const whole = step();
  expect(atOnce).toBe(1);
  const parts = await compile(step).run();
  expect(atOnce).toBe(OPS_AT_ONCE);
  // Sums over samples are added in another order.
  for (const [i, part] of parts.entries()) expect(part).toBeCloseTensor(whole[i], 1e-5);
});
