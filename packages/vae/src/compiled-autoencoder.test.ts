import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { pixelRoundings } from '@dit-moe/data';
import { randomNormal, tensorFlowBackend } from '@dit-moe/tensor-ops';
import { encodeTensor, type HostTensor } from '@dit-moe/tensor-ops/io';
import { writeSafetensors } from '@dit-moe/tensor-ops/io/node';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  Autoencoder,
  type AutoencoderConfig,
  type AutoencoderOptions,
  activationBytes,
  batchSizeFor,
  type Dialect,
  decodeLatents,
  encodeMoments,
  loadAutoencoder,
  type Part,
  stableDiffusionConfig,
  unscaleLatents,
  weightShapes,
} from './index.js';
import { openAutoencoder } from './node/index.js';
import { nameIn } from './weight-names.js';

/** Wide enough that filters are packed and summed. */
const config: AutoencoderConfig = {
  ...stableDiffusionConfig,
  blockOutChannels: [16, 256],
  layersPerBlock: 1,
  normNumGroups: 4,
  sampleSize: 32,
};
/** Of the largest number: what another order of float32 sums, and the sums of filters, may change. */
const ROUNDING = 4e-6;
const files = new Map<string, HostTensor>();
let weights: Record<string, tf.Tensor>;
let root: string;
beforeAll(async () => {
  await useTensorFlow();
  root = await fs.mkdtemp(path.join(os.tmpdir(), 'vae-'));
  for (const [name, shape] of weightShapes(config)) {
    const size = shape.reduce((a, b) => a * b, 1);
    const scale = shape.length === 1 ? 0.1 : 1 / Math.sqrt(size / shape[0]);
    const data = randomNormal({ seed: 1, purpose: name, index: 0 }, size).map((v) => (/norm.*weight/.test(name) ? 1 : 0) + scale * v);
    files.set(name, { dtype: 'F32', shape: [...shape], data });
  }
  weights = (await load()) as Record<string, tf.Tensor>;
});
afterAll(() => fs.rm(root, { recursive: true }));

const load = async (parts?: readonly Part[]) =>
  (await loadAutoencoder({ names: [...files.keys()], read: async (name) => files.get(name)! }, config, parts)).weights;
/** A fresh autoencoder, disposed of afterwards. */
async function using<T>(options: AutoencoderOptions, work: (autoencoder: Autoencoder) => Promise<T>): Promise<T> {
  const autoencoder = new Autoencoder(await load(), config, options);
  try {
    return await work(autoencoder);
  } finally {
    autoencoder.dispose();
  }
}
const noise = (name: string, shape: number[]) =>
  tf.tensor(randomNormal({ seed: 2, purpose: name, index: 0 }, tf.util.sizeFromShape(shape)), shape);
/** A smooth picture with some noise. */
const pixelsOf = (count: number, height: number, width: number) => ({
  data: Uint8Array.from({ length: count * height * width * 3 }, (_, i) => 128 + 90 * Math.sin(i / 50) + ((i * 7919) % 31)),
  count,
  height,
  width,
  channels: 3,
});

describe('a compiled autoencoder', () => {
  test('computes what the plain functions do, with packed and summed filters', async () => {
    const [images, latents] = [noise('x', [2, 3, 16, 24]), noise('z', [2, 4, 8, 12])];
    await using({}, async (autoencoder) => {
      expect(await autoencoder.encode(images)).toBeCloseTensor(encodeMoments(weights, config, images), ROUNDING, 0);
      expect(await autoencoder.decode(latents)).toBeCloseTensor(decodeLatents(weights, config, latents), ROUNDING, 0);
    });
  });

  test.each([true, false])('bfloat16 is used where the processor is good at it (%s), and stays close', async (bf16Products) => {
    const [images, latents] = [noise('x', [2, 3, 16, 24]), noise('z', [2, 4, 8, 12])];
    const backend = tensorFlowBackend()!;
    const here = backend.bf16Products;
    backend.bf16Products = bf16Products;
    try {
      await using({ precision: 'bf16' }, async (autoencoder) => {
        expect(autoencoder.precision).toBe(bf16Products ? 'bf16' : 'f32');
        // Eight bits of mantissa, and errors of a few layers that add up.
        for (const [found, exact] of [
          [await autoencoder.encode(images), encodeMoments(weights, config, images)],
          [await autoencoder.decode(latents), decodeLatents(weights, config, latents)],
        ] as const) {
          if (bf16Products) expect(found).not.toBeCloseTensor(exact, 1e-5, 0);
          expect(found).toBeCloseTensor(exact, bf16Products ? 0.04 : ROUNDING, 0);
        }
      });
    } finally {
      backend.bf16Products = here;
    }
  });

  test('pixels in and out are the same as numbers in and out', async () => {
    const pixels = pixelsOf(2, 16, 24);
    const images = tf.tidy(() => tf.sub(tf.div(tf.tensor4d(pixels.data, [2, 16, 24, 3]), 127.5), 1).transpose([0, 3, 1, 2]));
    const latents = noise('z', [2, 4, 8, 12]);
    for (const rounding of ['dit', 'diffusers'] as const)
      await using({ rounding }, async (autoencoder) => {
        expect(await autoencoder.encodePixels(pixels)).toBeCloseTensor(encodeMoments(weights, config, images), ROUNDING, 0);
        const found = await autoencoder.decodeToPixels(latents);
        expect(found).toMatchObject({ count: 2, height: 16, width: 24, channels: 3 });
        const decoded = decodeLatents(weights, config, unscaleLatents(latents, config));
        const wanted = tf.transpose(pixelRoundings[rounding](decoded), [0, 2, 3, 1]).dataSync();
        // Another order of sums may move a number across the edge between two levels.
        const off = found.data.filter((v, i) => v !== wanted[i]).length;
        expect(off).toBeLessThan(5);
      });
  });

  test('batches that exceed the memory budget are cut, with the same result', async () => {
    const [images, latents] = [noise('x', [5, 3, 16, 16]), noise('z', [5, 4, 8, 8])];
    const memoryBudget = 2.5 * activationBytes(config, { part: 'decode', height: 16, width: 16 });
    expect(batchSizeFor(config, { part: 'decode', height: 16, width: 16, memoryBudget })).toBe(2);
    await using({ memoryBudget }, async (autoencoder) => {
      expect(await autoencoder.encode(images)).toBeCloseTensor(encodeMoments(weights, config, images), ROUNDING, 0);
      expect(await autoencoder.decode(latents)).toBeCloseTensor(decodeLatents(weights, config, latents), ROUNDING, 0);
    });
    expect(() => batchSizeFor(config, { part: 'encode', height: 15, width: 16, memoryBudget })).toThrow(/multiples of 2/);
  });

  test('tiles stay within the stated bound of the whole', async () => {
    // The bound: RMS below 0.3 of the signal. Group norms of a tile see other statistics, so the pictures must be alike everywhere to be close.
    const latents = tf.mul(noise('tiles', [1, 4, 32, 24]), 0.5);
    const pixels = pixelsOf(1, 64, 48);
    await using({ tiling: { tileSize: 32, overlap: 0.25 } }, async (autoencoder) => {
      const whole = decodeLatents(weights, config, latents);
      const [tiled] = [await autoencoder.decode(latents)];
      expect(tiled.shape).toEqual(whole.shape);
      const rms = tf.tidy(() => tf.sqrt(tf.div(tf.mean(tf.squaredDifference(tiled, whole)), tf.mean(tf.square(whole)))).dataSync()[0]);
      expect(rms).toBeLessThan(0.3);
      expect(rms).toBeGreaterThan(1e-4);
      const found = await autoencoder.decodeToPixels(tf.mul(latents, config.scalingFactor));
      expect(found).toMatchObject({ height: 64, width: 48 });
      expect((await autoencoder.encodePixels(pixels)).shape).toEqual([1, 8, 32, 24]);
    });
  });

  test('keeps one recording per size and frees everything', async () => {
    const latents = noise('z', [1, 4, 4, 4]);
    const before = tf.memory().numTensors;
    await using({}, async (autoencoder) => {
      for (let i = 0; i < 3; i++) await autoencoder.decodeToPixels(latents);
      const held = tf.memory().numTensors;
      await autoencoder.decodeToPixels(latents);
      (await autoencoder.encodePixels(pixelsOf(1, 8, 8))).dispose();
      expect(tf.memory().numTensors).toBe(held);
    });
    expect(tf.memory().numTensors).toBe(before);
    expect(() => new Autoencoder(weights, config, { memoryBudget: 0 })).toThrow(/memoryBudget/);
  });
});

describe('opening by name', () => {
  const json = { block_out_channels: [16, 256], layers_per_block: 1, norm_num_groups: 4, sample_size: 32, scaling_factor: 0.5 };
  const folder = async (name: string, dialect: Dialect, dtype: 'F32' | 'F16' = 'F32', prefix = '') => {
    const at = path.join(root, name);
    await fs.mkdir(at);
    await fs.writeFile(path.join(at, 'config.json'), JSON.stringify(json));
    const tensors = [...files].map(([key, { shape, data }]) => {
      // Values that both types hold.
      const exact = (data as Float32Array).map((v) => Math.round(v * 256) / 256);
      return { name: prefix + nameIn(dialect, key, 2), dtype, shape, bytes: () => encodeTensor(exact, dtype) };
    });
    await writeSafetensors(path.join(at, 'diffusion_pytorch_model.safetensors'), tensors);
    return at;
  };

  test('a folder, whatever its names and types, has one hash; half an autoencoder is enough for half of the work', async () => {
    const current = await openAutoencoder(await folder('current', 'current'));
    const compvis = await openAutoencoder(await folder('compvis', 'compvis', 'F16', 'first_stage_model.'), { parts: ['encoder'] });
    expect([current.dialect, compvis.dialect]).toEqual(['current', 'compvis']);
    expect(current.config.scalingFactor).toBe(0.5);
    expect(compvis.encoderHash).toBe(current.encoderHash);
    expect(current.encoderHash).toMatch(/^[0-9a-f]{64}$/);
    expect((await compvis.autoencoder.encodePixels(pixelsOf(1, 8, 8))).shape).toEqual([1, 8, 4, 4]);
    const half = await openAutoencoder(path.join(root, 'current', 'diffusion_pytorch_model.safetensors'), { parts: ['decoder'] });
    expect(half.encoderHash).toBeUndefined();
    for (const { autoencoder } of [current, compvis, half]) autoencoder.dispose();
  });

  test('what is not there is explained', async () => {
    const hub = { offline: true, cacheFolder: root };
    await expect(openAutoencoder('sd-vae-ft-mse', { hub })).rejects.toThrow(/stabilityai\/sd-vae-ft-mse.*not in the cache/);
    await expect(openAutoencoder('sd-vae-ft', { hub })).rejects.toThrow(/Known names: sd-vae-ft-mse, sd-vae-ft-ema/);
    const empty = path.join(root, 'empty');
    await fs.mkdir(empty);
    await expect(openAutoencoder(empty)).rejects.toThrow(/config\.json cannot be read/);
    await fs.writeFile(path.join(empty, 'config.json'), '{"block_out_channels": [10]}');
    await expect(openAutoencoder(empty)).rejects.toThrow(/block_out_channels/);
  });
});
