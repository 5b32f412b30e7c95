import * as tf from '@tensorflow/tfjs';
import { describe, expect, test } from 'vitest';
import { resample } from './index.js';

describe('resample', () => {
  test('keeps constants and, at the same size, everything', async () => {
    const flat = tf.fill([1, 5, 7, 3], 77) as tf.Tensor4D;
    for (const kernel of ['box', 'bicubic'] as const) {
      const values = await resample(flat, [3, 16], kernel).data();
      for (const value of values) expect(value).toBeCloseTo(77, 4);
    }
    const x = tf.tensor4d(
      Float32Array.from({ length: 48 }, (_, i) => i),
      [1, 4, 4, 3],
    );
    expect(await resample(x, [4, 4], 'bicubic').data()).toEqual(await x.data());
  });
  test('a box to half the size is the mean of four pixels, also of parts of pixels', async () => {
    const x = tf.tensor4d([0, 2, 4, 6, 8, 10, 12, 14, 16], [1, 3, 3, 1]);
    expect(Array.from(await resample(tf.slice(x, [0, 0, 0, 0], [1, 2, 2, 1]), [1, 1], 'box').data())).toEqual([4]);
    expect((await resample(x, [1, 2], 'box').data())[0]).toBeCloseTo(((0 + 6 + 12) * 1 + (2 + 8 + 14) * 0.5) / 3 / 1.5, 5);
  });
});
