import { conv2d, randomNormal, resizeImages } from '@dit-moe/tensor-ops';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import { convolveDoubled, phaseFilters } from './upsampling.js';

const normal = (purpose: string, shape: number[]) =>
  tf.tensor(randomNormal({ seed: 1, purpose, index: 0 }, tf.util.sizeFromShape(shape)), shape);
const largest = (x: tf.Tensor) => tf.max(tf.abs(x)).dataSync()[0];

let native: string;
beforeAll(async () => {
  await useTensorFlow();
  native = tf.getBackend();
});

describe.each(['native', 'cpu'])('the convolution of twice the size (%s)', (backend) => {
  beforeAll(() => tf.setBackend(backend === 'native' ? native : backend));

  test('is that of the doubled image, values and gradients', () => {
    tf.tidy(() => {
      const [x, filter, bias] = [normal('x', [2, 5, 3, 4]), normal('filter', [3, 3, 4, 6]), normal('bias', [6])];
      const ours = (a: tf.Tensor, w: tf.Tensor, b: tf.Tensor) => convolveDoubled(a, phaseFilters(w), b, [1, 1], 'f32');
      const plain = (a: tf.Tensor, w: tf.Tensor, b: tf.Tensor) => conv2d(resizeImages(a, [10, 6], { method: 'nearest' }), w, { bias: b });
      expect(largest(tf.sub(ours(x, filter, bias), plain(x, filter, bias)))).toBeLessThan(2e-5);
      const dy = normal('dy', [2, 10, 6, 6]);
      const [found, wanted] = [ours, plain].map((f) => tf.grads((a, w, b) => f(a, w, b))([x, filter, bias], dy));
      for (const [i, gradient] of wanted.entries()) expect(largest(tf.sub(found[i], gradient))).toBeLessThan(1e-4);
    });
  });

  test('of a strip with its neighbours is that part of the whole', () => {
    tf.tidy(() => {
      const [x, filter, bias] = [normal('x', [1, 6, 3, 4]), normal('filter', [3, 3, 4, 2]), tf.zeros([2])];
      const whole = convolveDoubled(x, phaseFilters(filter), bias, [1, 1], 'f32');
      const part = convolveDoubled(tf.slice(x, [0, 1, 0, 0], [1, 4, 3, 4]), phaseFilters(filter), bias, [0, 0], 'f32');
      expect(largest(tf.sub(part, tf.slice(whole, [0, 4, 0, 0], [1, 4, 6, 2])))).toBeLessThan(1e-6);
    });
  });
});
