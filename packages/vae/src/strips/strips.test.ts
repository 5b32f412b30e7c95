import { randomNormal } from '@dit-moe/tensor-ops';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs';
import { beforeAll, expect, test } from 'vitest';
import {
  Autoencoder,
  type AutoencoderConfig,
  type AutoencoderWeights,
  activationBytes,
  decodeLatents,
  encodeMoments,
  initialAutoencoderWeights,
  stableDiffusionConfig,
} from '../index.js';
import { decodeInStrips, encodeInStrips } from './strips.js';

const config: AutoencoderConfig = {
  ...stableDiffusionConfig,
  blockOutChannels: [8, 16, 16],
  layersPerBlock: 2,
  normNumGroups: 4,
  sampleSize: 32,
};
let weights: AutoencoderWeights;
let images: tf.Tensor;
let latents: tf.Tensor;
beforeAll(async () => {
  await useTensorFlow();
  weights = initialAutoencoderWeights(config, 1);
  // A trend from above to below, so that no strip has the statistics of the whole.
  const noise = (purpose: string, shape: number[]) =>
    tf.tensor(randomNormal({ seed: 1, purpose, index: 0 }, tf.util.sizeFromShape(shape)), shape);
  const trend = (rows: number) => tf.reshape(tf.linspace(-2, 2, rows), [1, 1, rows, 1]);
  images = tf.tidy(() => tf.add(noise('x', [2, 3, 60, 20]), trend(60)));
  latents = tf.tidy(() => tf.add(noise('z', [2, 4, 15, 5]), trend(15)));
});

// One row; strips that end within a pair of rows; a strip larger than the map.
test.each([1, 3 * 4 * 2 * 20 * 8, 7 * 4 * 2 * 20 * 16, 2 ** 30])('strips of %i bytes give the numbers of one piece', async (stripBytes) => {
  const before = tf.memory().numTensors;
  const input = tf.transpose(images, [0, 2, 3, 1]);
  const moments = await encodeInStrips(weights, config, input, { stripBytes });
  const decoded = await decodeInStrips(weights, config, latents, { stripBytes });
  tf.tidy(() => {
    expect(tf.transpose(moments, [0, 3, 1, 2])).toBeCloseTensor(encodeMoments(weights, config, images), 2e-5, 0);
    expect(tf.transpose(decoded, [0, 3, 1, 2])).toBeCloseTensor(decodeLatents(weights, config, latents), 2e-5, 0);
  });
  tf.dispose([moments, decoded]);
  expect(tf.memory().numTensors).toBe(before);
});

test('pictures too large for the memory budget are computed in strips, batches and pixels as well', async () => {
  const copies = Object.fromEntries(Object.entries(weights).map(([name, weight]) => [name, weight.clone()]));
  const memoryBudget = 0.5 * activationBytes(config, { part: 'encode', height: 60, width: 20 });
  const autoencoder = new Autoencoder(copies, config, { memoryBudget });
  const roomy = new Autoencoder(Object.fromEntries(Object.entries(weights).map(([name, weight]) => [name, weight.clone()])), config);
  const before = tf.memory().numTensors;
  const [moments, decoded] = [await autoencoder.encode(images), await autoencoder.decode(latents)];
  tf.tidy(() => {
    expect(moments).toBeCloseTensor(encodeMoments(weights, config, images), 2e-5, 0);
    expect(decoded).toBeCloseTensor(decodeLatents(weights, config, latents), 2e-5, 0);
  });
  tf.dispose([moments, decoded]);
  const pixels = {
    data: Uint8Array.from({ length: 2 * 60 * 20 * 3 }, (_, i) => (i * 7919) % 251),
    count: 2,
    height: 60,
    width: 20,
    channels: 3,
  };
  const [strips, whole] = [await autoencoder.encodePixels(pixels), await roomy.encodePixels(pixels)];
  expect(strips).toBeCloseTensor(whole, 2e-5, 0);
  tf.dispose([strips, whole]);
  const [a, b] = [await autoencoder.decodeToPixels(latents), await roomy.decodeToPixels(latents)];
  expect(a).toMatchObject({ count: 2, height: 60, width: 20 });
  // Another order of sums may move a number across the edge between two levels.
  expect(a.data.filter((v, i) => v !== b.data[i]).length).toBeLessThan(5);
  expect(tf.memory().numTensors).toBe(before);
  await expect(autoencoder.encode(tf.zeros([1, 3, 62, 62]))).rejects.toThrow(/multiples of 4/);
  autoencoder.dispose();
  roomy.dispose();
});

test('a failure frees what was made', async () => {
  const before = tf.memory().numTensors;
  const { [`decoder.conv_out.weight`]: _, ...broken } = weights;
  await expect(decodeInStrips(broken, config, latents)).rejects.toThrow();
  expect(tf.memory().numTensors).toBe(before);
});
