import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, expect, test } from 'vitest';
import type { DitConfig, ModelCard } from './index.js';
import { loadDit } from './index.js';
import { randomNumbers, someInputs, tiny } from './testing/models.js';

beforeAll(async () => void (await useTensorFlow()));

test.each(['race', 'threshold'] as const)(
  'a model with the router %s is sampled only once training has estimated its thresholds',
  async (router) => {
    const config: DitConfig = { ...tiny, moe: { ...tiny.moe!, router } };
    const card: ModelCard = { config, objective: 'flow', timeScale: 1, classNames: ['a', 'b', 'c'], step: 0 };
    const numbers = randomNumbers(config);
    async function* weights(share: number) {
      for (const [name, value] of Object.entries(numbers))
        yield [name, name.endsWith('.threshold.share') ? { shape: [1], data: Float32Array.of(share) } : value] as [string, typeof value];
    }
    const before = tf.memory().numTensors;
    await expect(loadDit({ weights: () => weights(0) }, card)).rejects.toMatchObject({
      code: 'E_UNTRAINED_ROUTER',
      message: expect.stringMatching(/no thresholds yet \(blocks\.0\.moe\.threshold\.share is 0\).*train it/),
    });
    expect(tf.memory().numTensors).toBe(before);
    const model = await loadDit({ weights: () => weights(0.05) }, card);
    const inputs = someInputs(config);
    const { output } = model.apply(...inputs);
    expect(output.shape).toEqual([3, 1, 8, 4]);
    expect(output.dataSync().every(Number.isFinite)).toBe(true);
    tf.dispose([...inputs, output]);
    model.dispose();
  },
);
