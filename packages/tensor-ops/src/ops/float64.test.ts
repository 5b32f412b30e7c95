import * as tf from '@tensorflow/tfjs';
import { beforeAll, expect, test } from 'vitest';
import { useTensorFlow } from '../node/index.js';
import { type Float64Matrix, float64Runtime } from './float64.js';

beforeAll(() => useTensorFlow());

const matrix = (rows: number, ...values: number[]): Float64Matrix => ({
  rows,
  columns: values.length / rows,
  data: Float64Array.from(values),
});
/** More digits than float32 has. */
const third = 1 / 3;

test('products keep the digits of float64, whichever operand is transposed, and leave no tensor', () => {
  const before = tf.memory().numTensors;
  const { multiply } = float64Runtime()!;
  const a = matrix(2, third, 2, 3, 4, 5, 6); // [2, 3]
  const b = matrix(3, 1, 0, 0, 1, 1, 1); // [3, 2]
  const product = [third + 3, 5, 10, 11];
  expect(multiply(a, b)).toEqual(matrix(2, ...product));
  expect(multiply(a, matrix(2, 1, 0, 1, 0, 1, 1), { b: true })).toEqual(matrix(2, ...product));
  expect(multiply(matrix(3, third, 4, 2, 5, 3, 6), b, { a: true })).toEqual(matrix(2, ...product));
  expect(multiply(a, a, { a: true }).data[0]).toBe(third * third + 16);
  expect(tf.memory().numTensors).toBe(before);
});

test('Cholesky and singular values of matrices where they are known', () => {
  const before = tf.memory().numTensors;
  const { cholesky, singularValues } = float64Runtime()!;
  expect(cholesky(matrix(2, 4, 2, 2, 2))).toEqual(matrix(2, 2, 0, 1, 1));
  expect(cholesky(matrix(2, 1, 2, 2, 1))).toBeUndefined();
  expect(singularValues(matrix(2, 0, third, 0, 5, 0, 0))).toBeCloseTensor([5, third], 1e-14);
  expect(tf.memory().numTensors).toBe(before);
});

test('other backends have none', () => {
  void tf.setBackend('cpu');
  expect(float64Runtime()).toBeUndefined();
});
