import { conv2d, randomNormal, roundMaps, tensorFlowBackend, widen } from '@dit-moe/tensor-ops';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs';
import { beforeAll, expect, test } from 'vitest';
import { convolveWinograd, winogradFilters, winogradPays } from './winograd.js';

const normal = (purpose: string, shape: number[]) =>
  tf.tensor(randomNormal({ seed: 1, purpose, index: 0 }, tf.util.sizeFromShape(shape)), shape);
const largest = (x: tf.Tensor) => tf.max(tf.abs(x)).dataSync()[0];

beforeAll(() => useTensorFlow());

// Even and odd numbers of rows; strips with the rows of their neighbours; one image and several.
test.each([
  [1, 6, [1, 1]],
  [1, 7, [1, 1]],
  [2, 5, [1, 1]],
  [2, 4, [0, 1]],
  [1, 5, [1, 0]],
  [3, 6, [0, 0]],
  [1, 1, [1, 1]],
] as const)('%i images of %i rows, zeros %o: the plain convolution', (batch, height, rows) => {
  tf.tidy(() => {
    const [x, filter, bias] = [normal('x', [batch, height, 5, 8]), normal('filter', [3, 3, 8, 6]), normal('bias', [6])];
    const wanted = conv2d(x, filter, { padding: [rows, [1, 1]], bias });
    const found = convolveWinograd(x, winogradFilters(filter), bias, rows);
    expect(found.shape).toEqual(wanted.shape);
    expect(largest(tf.sub(found, wanted))).toBeLessThan(2e-5);

    const backend = tensorFlowBackend()!;
    const here = backend.bf16Products;
    backend.bf16Products = true;
    try {
      const rounded = convolveWinograd(roundMaps(x), winogradFilters(filter).map(roundMaps), bias, rows);
      expect(largest(tf.sub(widen(rounded), wanted))).toBeLessThan(0.02 * largest(wanted));
    } finally {
      backend.bf16Products = here;
    }
  });
});

test('is for filters of 3 x 3 taps with many channels', () => {
  expect(winogradPays([3, 3, 128, 256])).toBe(true);
  expect(winogradPays([3, 3, 3, 128])).toBe(false);
  expect(winogradPays([1, 1, 256, 256])).toBe(false);
});
