import type { WeightSource } from '@dit-moe/tensor-ops/io';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  collectFeatures,
  disposeInception,
  type InceptionWeights,
  inceptionExtractor,
  inceptionShapes,
  loadInception,
  MetricError,
} from '../index.js';
import { formulaWeights } from '../testing/formula-weights.js';

/** Values are compared with the reference by `pnpm parity`. */
const source = formulaWeights(inceptionShapes());
const image = (seed: number) => ({
  data: Uint8Array.from({ length: 64 * 48 * 3 }, (_, i) => 128 + 127 * Math.sin((i * seed) / 50)),
  count: 1,
  height: 64,
  width: 48,
  channels: 3,
});

describe('the Inception network of FID', () => {
  let weights: InceptionWeights;
  beforeAll(async () => {
    await useTensorFlow();
    weights = await loadInception(source);
  });
  afterAll(() => disposeInception(weights));

  test('features do not depend on the batch; the compiled network leaks nothing', async () => {
    const extractor = inceptionExtractor(weights);
    const images = [image(1), image(2), image(3)];
    const alone = await collectFeatures(images, extractor.extract, { batch: 1 });
    const before = tf.memory().numTensors;
    const together = await collectFeatures(images, extractor.extract, { batch: 3 });
    expect(tf.memory().numTensors).toBe(before);
    expect(Object.fromEntries(Object.entries(alone.features).map(([name, rows]) => [name, [rows.count, rows.dimension]]))).toEqual({
      pool: [3, 2048],
      spatial: [3, 17 * 17 * 7],
      logits: [3, 1008],
    });
    for (const name of ['pool', 'spatial', 'logits'] as const) {
      const [a, b] = [alone.features[name]!.data, together.features[name]!.data];
      expect(a).not.toBeCloseTensor(new Float32Array(a.length), 1e-3);
      expect(b).toBeCloseTensor(a, 1e-5, 0);
    }
    extractor.dispose();
  });

  test('grey tensors and weights that do not fit are refused, with every name', async () => {
    await expect(inceptionExtractor(weights).extract(tf.zeros([1, 8, 8, 1]))).rejects.toThrow(MetricError);
    const names = source.names.filter((name) => !name.startsWith('Mixed_7c.branch_pool'));
    await expect(loadInception({ ...source, names })).rejects.toThrow(/Mixed_7c.branch_pool.conv.weight is missing/);
    const info: WeightSource['info'] = (name) => (name === 'fc.weight' ? { dtype: 'F32', shape: [1000, 2048] } : source.info(name));
    await expect(loadInception({ ...source, info })).rejects.toThrow(/fc.weight is \[1000,2048\], expected \[1008,2048\]/);
  });
});
