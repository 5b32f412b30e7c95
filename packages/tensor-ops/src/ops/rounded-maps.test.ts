import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import { compile } from '../compile.js';
import { useTensorFlow } from '../node/index.js';
import { conv2d, groupNorm, isRounded, type Padding, roundMaps, silu, stackMaps, widen } from './index.js';

beforeAll(() => useTensorFlow());

describe('feature maps in bfloat16', () => {
  const filter = () => tf.randomNormal([3, 3, 8, 6], 0, 0.1, 'float32', 1);
  const vector = (seed: number, size = 8) => tf.randomNormal([size], 1, 0.5, 'float32', seed);
  const halves: Padding = [
    [0, 1],
    [1, 0],
  ];
  const layers: [string, (x: tf.Tensor) => tf.Tensor][] = [
    ['conv2d', (x) => conv2d(x, filter(), { bias: vector(2, 6) })],
    ['conv2d, uneven zeros and stride', (x) => conv2d(x, filter(), { stride: 2, padding: halves })],
    // Means far from zero and of many sizes.
    ['groupNorm', (x) => groupNorm(x, 4, { scale: vector(3), bias: vector(4) })],
    ['groupNorm without scale and bias', (x) => groupNorm(x, 2)],
    ['silu', silu],
    ['stackMaps', (x) => stackMaps([x, x], 2)],
  ];
  for (const batch of [1, 2])
    test.each(layers)(`%s of ${batch} stays there and is near float32, compiled with fused ops as well`, async (_, layer) => {
      const x = tf.add(tf.randomNormal([batch, 6, 4, 8], 0, 1, 'float32', 5), tf.range(-4, 4));
      const rounded = roundMaps(x);
      const exact = layer(widen(rounded));
      const found = layer(rounded);
      expect([isRounded(x), isRounded(found), isRounded(exact)]).toEqual([false, true, false]);
      expect(found.shape).toEqual(exact.shape);
      expect(widen(found)).toBeCloseTensor(exact, 0.01, 0);
      const step = compile((y: tf.Tensor) => widen(layer(roundMaps(y))), { rewrite: true });
      expect(await step.run(x)).toBeCloseTensor(exact, 0.01, 0);
      expect(step.runSync(x)).toBeCloseTensor(exact, 0.01, 0);
      step.dispose();
    });

  test('are float32 on other backends', async () => {
    const here = tf.getBackend();
    await tf.setBackend('cpu');
    const x = tf.ones([2]);
    expect(roundMaps(x)).toBe(x);
    expect(widen(x)).toBe(x);
    await tf.setBackend(here);
  });
});
