import * as tf from '@tensorflow/tfjs';
import { beforeAll, expect, test } from 'vitest';
import { classifierFreeGuidance } from './index.js';

beforeAll(() => tf.setBackend('cpu'));

/** Predicts the label itself in every element. */
const model = (x: tf.Tensor, _t: tf.Tensor, y: tf.Tensor) =>
  tf.tidy(() => tf.add(tf.zerosLike(x), tf.reshape(tf.cast(y, 'float32'), [-1, 1])));
const labels = () => tf.tensor1d([1, 2], 'int32');
const t = () => tf.tensor1d([0.5, 0.5]);

test('extrapolates from the null label', async () => {
  const guided = classifierFreeGuidance(model, { labels: labels(), nullLabel: 10, scale: 3 });
  expect(await (await guided(tf.zeros([2, 2]), t(), 0.5)).array()).toEqual([
    [10 + 3 * (1 - 10), 10 + 3 * (1 - 10)],
    [10 + 3 * (2 - 10), 10 + 3 * (2 - 10)],
  ]);
});

test('guides only the channels asked for, and only inside its interval', async () => {
  let rows = 0;
  const counting: typeof model = (x, time, y) => {
    rows = x.shape[0]!;
    return model(x, time, y);
  };
  const some = classifierFreeGuidance(counting, { labels: labels(), nullLabel: 10, scale: 3, channels: 1 });
  expect(await (await some(tf.zeros([2, 2]), t(), 0.5)).array()).toEqual([
    [-17, 1],
    [-14, 2],
  ]);
  expect(rows).toBe(4);
  const limited = classifierFreeGuidance(counting, { labels: labels(), nullLabel: 10, scale: 3, interval: [0.6, 1] });
  expect(await (await limited(tf.zeros([2, 2]), t(), 0.5)).array()).toEqual([
    [1, 1],
    [2, 2],
  ]);
  expect(rows).toBe(2);
});
