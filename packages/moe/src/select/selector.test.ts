import * as tf from '@tensorflow/tfjs';
import { beforeAll, expect, test } from 'vitest';
import { expertChoice } from './expert-choice.js';
import { normalized, normalizedByExpert } from './selector.js';

beforeAll(() => tf.setBackend('cpu'));

test('weights of tokens that no expert took, or of vanishing scores, are divided by nothing that has no gradient', () => {
  const weights = tf.tensor2d([
    [0, 0],
    [1e-30, 3e-30],
    [1, 3],
  ]);
  const { value, grad } = tf.valueAndGrad((w: tf.Tensor) => tf.sum(tf.mul(normalized(w), [[1, 2]])))(weights);
  expect([...value.dataSync(), ...grad.dataSync()].every(Number.isFinite)).toBe(true);
  expect(normalized(weights).arraySync()).toMatchObject({ 0: [0, 0], 2: [0.25, 0.75] });
  // The same by expert choice, where token 2 is nobody's.
  const scores = tf.tensor2d([
    [3, 1],
    [1, 3],
    [0.1, 0.1],
    [2, 2],
  ]);
  const chosen = (s: tf.Tensor) => normalized(expertChoice(1, { sequences: 1 })({ scores: s, logits: s, numExperts: 2 }).weights);
  expect(chosen(scores).arraySync()).toMatchObject({ 2: [0, 0] });
  expect(
    [
      ...tf
        .grad((s: tf.Tensor) => tf.sum(tf.square(chosen(s))))(scores)
        .dataSync(),
    ].every(Number.isFinite),
  ).toBe(true);
});

test("an expert's weights are divided by their mean; where that is nothing, nothing becomes NaN", () => {
  const scores = tf.tensor2d([
    [3, 0],
    [1, 1e-30],
  ]);
  const weights = (s: tf.Tensor) =>
    normalizedByExpert(expertChoice(2, { sequences: 1 }), 1)({ scores: s, logits: s, numExperts: 2 }).weights;
  expect(Array.from(weights(scores).dataSync(), (w) => Number(w.toFixed(6)))).toEqual([1.5, 0, 0.5, 0]);
  const gradient = tf.grad((s: tf.Tensor) => tf.sum(tf.square(weights(s))))(scores);
  expect([...gradient.dataSync()].every(Number.isFinite)).toBe(true);
});
