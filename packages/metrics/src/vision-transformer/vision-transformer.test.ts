import fs from 'node:fs';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import { clipExtractor, collectFeatures, dinov2Extractor, type FeatureExtractor, MetricError } from '../index.js';
import { formulaValues, formulaWeights } from '../testing/formula-weights.js';
import { interpolatePositions } from './interpolate-positions.js';

/** Outputs of the transformers library in float64; see the .py file beside it. */
const fixture = JSON.parse(fs.readFileSync(new URL('../../test/fixtures/vision-transformer.json', import.meta.url), 'utf8'));
const weights = (of: string) => formulaWeights(new Map(Object.entries(fixture[of].shapes as Record<string, number[]>)));
const picture = {
  data: Uint8Array.from(formulaValues('picture', 60 * 50 * 3), (v) => Math.round((v + 1) * 127.5)),
  count: 1,
  height: 60,
  width: 50,
  channels: 3,
};

async function poolOf(extractor: FeatureExtractor<'pool'>): Promise<number[]> {
  const { features } = await collectFeatures([picture, picture], extractor.extract, { batch: 2 });
  const { dimension, data } = features.pool!;
  for (let i = 0; i < dimension; i++) expect(data[dimension + i]).toBeCloseTo(data[i], 5);
  return Array.from(data.subarray(0, dimension));
}

describe.each(['tensorflow', 'cpu'])('on %s', (backend) => {
  beforeAll(async () => {
    if (backend === 'tensorflow') await useTensorFlow();
    else await tf.setBackend(backend);
  });

  test.each([
    ['dinov2', (source: ReturnType<typeof weights>) => dinov2Extractor(source, { side: fixture.dinov2.side })],
    ['clip', clipExtractor],
  ] as const)('%s gives what transformers gives, and frees its tensors', async (name, open) => {
    const before = tf.memory().numTensors;
    const extractor = await open(weights(name));
    const found = await poolOf(extractor);
    extractor.dispose();
    expect(tf.memory().numTensors).toBe(before);
    const wanted = fixture[name].pool as number[];
    expect(found).toBeCloseTensor(wanted, 1e-5, 0);
  });
});

test("positions are interpolated as by DINOv2's own code", () => {
  const positions = formulaValues('positions', 50 * 4);
  for (const to of [3, 11])
    for (const [i, value] of interpolatePositions(positions, 7, to, 4).entries())
      expect(value).toBeCloseTo(fixture[`positions_7_to_${to}`][i], 5);
});

test('weights that are missing or of another kind are named', async () => {
  const source = weights('dinov2');
  const without = (part: string) => ({ ...source, names: source.names.filter((name) => !name.includes(part)) });
  await expect(dinov2Extractor(without('layer.1.mlp.fc2'))).rejects.toThrow(
    /no encoder.layer.1.mlp.fc2.weight, encoder.layer.1.mlp.fc2.bias/,
  );
  await expect(dinov2Extractor(weights('clip'))).rejects.toThrow(MetricError);
  await expect(clipExtractor(source)).rejects.toThrow(/vision_model.embeddings.class_embedding/);
  await expect(dinov2Extractor(source, { side: 40 })).rejects.toThrow(/not a multiple of the patch, 14/);
  await expect(dinov2Extractor({ ...source, names: [...source.names, 'embeddings.register_tokens'] })).rejects.toThrow(/registers/);
});
