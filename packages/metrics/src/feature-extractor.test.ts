import type { Pixels } from '@dit-moe/data';
import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import { collectFeatures, onlineEvaluation, pixelExtractor } from './index.js';

beforeAll(async () => void (await tf.setBackend('cpu')));

/** Reproducible grey images of two kinds: bright ones and dark ones. */
function images(count: number, brightness: number, seed = 1): Pixels {
  let state = seed;
  const next = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
  return { data: Uint8Array.from({ length: count * 64 }, () => brightness + 100 * next()), count, height: 8, width: 8, channels: 1 };
}

describe('collecting features', () => {
  test('any function is an extractor; batch size does not matter, nothing leaks', async () => {
    const extract = (x: tf.Tensor4D) =>
      tf.tidy(() => ({ corner: tf.cast(tf.slice(x, [0, 0, 0, 0], [-1, 1, 2, 1]), 'float32').reshape([-1, 2]) as tf.Tensor2D }));
    const source = [images(5, 0), images(6, 50, 9)];
    const before = tf.memory().numTensors;
    const [small, large] = [await collectFeatures(source, extract, { batch: 2 }), await collectFeatures(source, extract, { batch: 100 })];
    expect(tf.memory().numTensors).toBe(before);
    expect(small.count).toBe(11);
    expect(small.features).toEqual(large.features);
    expect([...small.features.corner!.data.slice(0, 2)]).toEqual([...source[0].data.slice(0, 2)]);
    expect(small.moments.corner!.moments().mean[0]).toBeCloseTo(large.moments.corner!.moments().mean[0], 12);
  });

  test('a limit, progress, an abort and a faulty extractor', async () => {
    const { extract } = pixelExtractor(4);
    const done: number[] = [];
    const { count } = await collectFeatures([images(10, 0)], extract, { batch: 3, limit: 7, onProgress: (n) => done.push(n) });
    expect([count, done]).toEqual([7, [3, 6, 7]]);
    await expect(collectFeatures([images(4, 0)], extract, { signal: AbortSignal.abort(new Error('stopped')) })).rejects.toThrow('stopped');
    await expect(collectFeatures([], extract)).rejects.toThrow(/no images/);
    const before = tf.memory().numTensors;
    await expect(collectFeatures([images(4, 0)], () => ({ odd: tf.zeros([3, 2]) as tf.Tensor2D }))).rejects.toThrow(
      /\[3,2\], expected \[4, 2\]/,
    );
    expect(tf.memory().numTensors).toBe(before);
  });
});

describe('evaluation during training', () => {
  test('is due every N steps, names its size, and tells good images from bad ones', async () => {
    const { extract } = pixelExtractor(4);
    const online = await onlineEvaluation([images(300, 50)], { every: 50, count: 64, extract, feature: 'pool' });
    expect([0, 25, 50, 100].map(online.due)).toEqual([false, false, true, true]);
    const good = await online.evaluate(50, () => [images(64, 50, 7)]);
    const bad = await online.evaluate(100, () => [images(64, 90, 7)]);
    expect(Object.keys(good.scalars)).toEqual(['online/fd_pool_n64', 'online/kd_pool_n64']);
    expect(good.summary).toMatch(/Frechet distance of 64 images: .* compare only with others of 64 images/);
    expect(good.frechetDistance).toBeLessThan(3 * good.frechetDistanceOfReal);
    expect(bad.frechetDistance).toBeGreaterThan(10 * good.frechetDistance);
    expect(bad.kernelDistance).toBeGreaterThan(10 * Math.abs(good.kernelDistance));
    await expect(online.evaluate(150, () => [images(10, 50)])).rejects.toThrow(/expected 64 generated images, found 10/);
    await expect(onlineEvaluation([images(9, 0)], { every: 0, count: 4, extract, feature: 'pool' })).rejects.toThrow(/"every"/);
  });
});
