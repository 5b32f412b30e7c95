import { randomNormal } from '@dit-moe/tensor-ops';
import type { HostTensor } from '@dit-moe/tensor-ops/io';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import { configJson } from './config.js';
import {
  type AutoencoderConfig,
  type AutoencoderWeights,
  autoencoderConfig,
  type Dialect,
  decodeLatents,
  decodeTiled,
  downscale,
  encodeMoments,
  encodeTiled,
  loadAutoencoder,
  padImages,
  posteriorKl,
  posteriorNll,
  posteriorOf,
  samplePosterior,
  samplePosteriorOnHost,
  scaleLatents,
  stableDiffusionConfig,
  unscaleLatents,
  weightShapes,
} from './index.js';
import { nameIn } from './weight-names.js';

const config: AutoencoderConfig = {
  ...stableDiffusionConfig,
  blockOutChannels: [4, 8],
  layersPerBlock: 1,
  normNumGroups: 2,
  latentChannels: 2,
  sampleSize: 8,
};
const levels = config.blockOutChannels.length;

const normal = (name: string, shape: readonly number[], scale = 0.3): HostTensor => ({
  dtype: 'F32',
  shape: [...shape],
  data: randomNormal({ seed: 1, purpose: name, index: 0 }, tf.util.sizeFromShape([...shape])).map((v) => v * scale),
});
/** A file in memory. */
const source = (tensors: Map<string, HostTensor>) => ({ names: [...tensors.keys()], read: async (name: string) => tensors.get(name)! });
const file = (dialect: Dialect = 'current', prefix = '') =>
  new Map([...weightShapes(config)].map(([name, shape]) => [prefix + nameIn(dialect, name, levels), normal(name, shape)]));
const image = (height = 8, width = 12) => {
  const { data, shape } = normal('image', [1, 3, height, width]);
  return tf.tensor4d(data as Float32Array, shape as [number, number, number, number]);
};

let native: string;
beforeAll(async () => {
  await useTensorFlow();
  native = tf.getBackend();
});

describe('weights', () => {
  beforeAll(() => tf.setBackend('cpu'));

  test.each([
    ['current', ''],
    ['older', ''],
    ['compvis', ''],
    ['compvis', 'first_stage_model.'],
  ] as const)('%s names with prefix "%s" are the same weights', async (dialect, prefix) => {
    const tensors = file(dialect, prefix);
    if (prefix !== '')
      tensors.set('model.diffusion_model.out.weight', normal('x', [1])).set('first_stage_model.loss.logvar', normal('y', [1]));
    const loaded = await loadAutoencoder(source(tensors), config);
    expect(loaded.dialect).toBe(dialect);
    const plain = await loadAutoencoder(source(file()), config);
    for (const [name, weight] of Object.entries(plain.weights)) expect(loaded.weights[name].dataSync()).toEqual(weight.dataSync());
  });

  test('files that do not fit are refused by name and leave no tensor', async () => {
    const before = tf.memory().numTensors;
    const change = (work: (tensors: Map<string, HostTensor>) => void) => {
      const tensors = file();
      work(tensors);
      return loadAutoencoder(source(tensors), config);
    };
    await expect(change((t) => t.delete('decoder.conv_in.bias'))).rejects.toThrow(/missing 1 \(decoder\.conv_in\.bias\)/);
    await expect(change((t) => t.set('decoder.extra', normal('x', [1])))).rejects.toThrow(/unused 1 \(decoder\.extra\)/);
    await expect(change((t) => t.set('decoder.conv_out.weight', normal('x', [3, 4, 1, 9])))).rejects.toThrow(
      /decoder\.conv_out\.weight.*\[3,4,3,3\]/,
    );
    await expect(change((t) => t.clear())).rejects.toThrow(/no AutoencoderKL/);
    expect(tf.memory().numTensors).toBe(before);
  });

  test('half an autoencoder needs half of the names', async () => {
    const tensors = file();
    for (const name of tensors.keys()) if (name.startsWith('encoder') || name.startsWith('quant')) tensors.delete(name);
    const { weights } = await loadAutoencoder(source(tensors), config, ['decoder']);
    expect(decodeLatents(weights, config, tf.zeros([1, 2, 2, 3])).shape).toEqual([1, 3, 4, 6]);
    await expect(loadAutoencoder(source(tensors), config)).rejects.toThrow(/missing/);
  });

  test('Stable Diffusion has 83,653,863 weights', () => {
    let count = 0;
    for (const shape of weightShapes(stableDiffusionConfig).values()) count += tf.util.sizeFromShape([...shape]);
    expect(count).toBe(83_653_863);
    expect(downscale(stableDiffusionConfig)).toBe(8);
  });

  test.each([
    [{ _class_name: 'VQModel' }, /_class_name/],
    [{ down_block_types: ['AttnDownEncoderBlock2D'] }, /down_block_types/],
    [{ act_fn: 'gelu' }, /act_fn/],
    [{ latents_mean: [0.1, 0, 0, 0] }, /latents_mean and latents_std together/],
    [{ latents_mean: [0.1, 0, 0, 0], latents_std: [1, 1, 0, 1] }, /latents_std: expected 4 numbers above 0/],
    [{ latents_mean: [0.1, 0], latents_std: [1, 1] }, /latents_mean: expected 4 numbers/],
    [{ block_out_channels: [10], norm_num_groups: 4 }, /block_out_channels/],
    [{ layers_per_block: 0 }, /layers_per_block/],
    [{ scaling_factor: 'much' }, /scaling_factor/],
  ])('config.json with %o is refused', (json, message) => {
    expect(() => autoencoderConfig(json)).toThrow(message);
  });
});

test('latents with a mean and deviation for each channel come back, as does their config.json', () => {
  const [mean, deviation] = [
    [0.5, -1, 0, 2],
    [2, 0.5, 1, 4],
  ];
  const each = autoencoderConfig({ latents_mean: mean, latents_std: deviation, scaling_factor: 0.5 });
  const z = tf.tensor4d([3, 3, 3, 3], [1, 4, 1, 1]);
  const scaled = scaleLatents(z, each);
  expect([...scaled.dataSync()]).toEqual(mean.map((m, c) => ((3 - m) * 0.5) / deviation[c]));
  expect([...unscaleLatents(scaled, each).dataSync()]).toEqual([3, 3, 3, 3]);
  expect(autoencoderConfig(configJson(each))).toEqual(each);
});

describe('encoding and decoding', () => {
  const onBackend = async <T>(backend: string, work: (weights: AutoencoderWeights) => T | Promise<T>): Promise<T> => {
    await tf.setBackend(backend);
    const { weights } = await loadAutoencoder(source(file()), config);
    try {
      return await work(weights);
    } finally {
      tf.dispose(weights as Record<string, tf.Tensor>);
    }
  };

  test('agree between the runtime and plain JavaScript, values and gradients', async () => {
    const results = [];
    for (const backend of [native, 'cpu'])
      results.push(
        await onBackend(backend, (weights) =>
          tf.tidy(() => {
            const noise = tf.fill([1, 2, 4, 6], 0.5);
            const reconstruct = (x: tf.Tensor) =>
              decodeLatents(weights, config, samplePosterior(posteriorOf(encodeMoments(weights, config, x)), noise));
            const { value, grad } = tf.valueAndGrad((x: tf.Tensor) => tf.sum(tf.square(reconstruct(x))))(image());
            return [...value.dataSync(), ...grad.dataSync()];
          }),
        ),
      );
    const [ours, theirs] = results as [number[], number[]];
    expect(ours).toBeCloseTensor(theirs, 2e-5, 0);
  });

  test('a sample on the host is that on the device, also where the variance is bounded', async () => {
    const [moments, noise] = [Float32Array.of(0.5, -2, 1, 0.3, -99, 99), Float32Array.of(1.5, 0.25, -0.5)];
    const onDevice = tf.tidy(() => samplePosterior(posteriorOf(tf.tensor(moments, [1, 6, 1, 1])), tf.tensor(noise, [1, 3, 1, 1])));
    const found = samplePosteriorOnHost(moments, noise);
    for (const [i, wanted] of (await onDevice.data()).entries()) expect(Math.abs(found[i] / wanted - 1)).toBeLessThan(1e-6); // float32
    onDevice.dispose();
  });

  test('sizes that do not divide are refused, or padded on request', async () => {
    await onBackend(native, (weights) => {
      expect(() => encodeMoments(weights, config, image(9, 8))).toThrow(/multiples of 2.*found 9 x 8/);
      const padded = padImages(image(9, 7), config);
      expect(padded.shape).toEqual([1, 3, 10, 8]);
      expect(tf.slice(padded, [0, 0, 9, 0], [1, 3, 1, 7]).dataSync()).toEqual(tf.slice(image(9, 7), [0, 0, 8, 0], [1, 3, 1, 7]).dataSync());
      expect(encodeMoments(weights, config, padded).shape).toEqual([1, 4, 5, 4]);
      expect(() => encodeMoments(weights, config, tf.zeros([1, 1, 8, 8]))).toThrow(/\[B, 3/);
      expect(() => decodeLatents(weights, config, tf.zeros([1, 3, 8, 8]))).toThrow(/\[B, 2/);
    });
  });
});

describe('tiles', () => {
  beforeAll(() => tf.setBackend('cpu'));
  const enlarge = (z: tf.Tensor) =>
    tf.tidy(() =>
      tf.transpose(
        tf.image.resizeNearestNeighbor(tf.transpose(z, [0, 2, 3, 1]) as tf.Tensor4D, [2 * z.shape[2]!, 2 * z.shape[3]!]),
        [0, 3, 1, 2],
      ),
    );

  test.each([
    [8, 0.25, 13, 20],
    [8, 0.5, 5, 4],
    [16, 0, 9, 17],
    [4, 0.5, 3, 1],
  ])('of %i pixels that overlap by %f do not change what is local', async (tileSize, overlap, height, width) => {
    const z = tf.randomNormal([2, 3, height, width]);
    const before = tf.memory().numTensors;
    const tiled = await decodeTiled(config, z, enlarge, { tileSize, overlap });
    const whole = enlarge(z);
    expect(tiled.shape).toEqual(whole.shape);
    expect(tiled).toBeCloseTensor(whole);
    tf.dispose([tiled, whole]);
    expect(tf.memory().numTensors).toBe(before);
  });

  test('one tile is the whole image, and a failure leaves no tensor', async () => {
    const x = tf.ones([1, 3, 8, 8]);
    const half = (tile: tf.Tensor) =>
      tf.tidy(() => tf.avgPool(tf.transpose(tile, [0, 2, 3, 1]) as tf.Tensor4D, 2, 2, 'valid').transpose([0, 3, 1, 2]));
    expect((await encodeTiled(config, x, half)).shape).toEqual([1, 3, 4, 4]);
    const before = tf.memory().numTensors;
    let calls = 0;
    const fail = (tile: tf.Tensor) => {
      if (++calls === 3) throw new Error('out of memory');
      return half(tile);
    };
    await expect(encodeTiled(config, x, fail, { tileSize: 4, overlap: 0.5 })).rejects.toThrow('out of memory');
    expect(tf.memory().numTensors).toBe(before);
    await expect(async () => encodeTiled(config, x, half, { tileSize: 3 })).rejects.toThrow(/tileSize/);
    await expect(async () => encodeTiled(config, x, half, { overlap: 1 })).rejects.toThrow(/overlap/);
  });
});

test('divergence and likelihood of the posterior are the closed forms', () => {
  const moments = tf.tensor4d([1, 0, Math.log(4), -100], [1, 4, 1, 1]);
  const posterior = posteriorOf(moments);
  const expected = 0.5 * (1 + 4 - 1 - Math.log(4)) + 0.5 * (Math.exp(-30) - 1 + 30);
  expect(posteriorKl(posterior).dataSync()[0]).toBeCloseTo(expected, 4);
  expect(posteriorKl(posterior, posterior).dataSync()[0]).toBe(0);
  const nll = 0.5 * (2 * Math.log(2 * Math.PI) + Math.log(4) - 30);
  expect(posteriorNll(posterior, posterior.mean).dataSync()[0]).toBeCloseTo(nll, 4);
});
