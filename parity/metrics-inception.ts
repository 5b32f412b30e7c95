/** The Inception network of FID with weights from a formula: weights, resize, layers, features, logits, end to end. */
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import {
  disposeInception,
  features,
  frechetDistanceOf,
  type InceptionWeights,
  inception,
  inceptionScoreBySplits,
  inceptionShapes,
  loadInception,
  resizeForInception,
} from '@dit-moe/metrics';
import type { WeightSource } from '@dit-moe/tensor-ops/io';
import { openNpz } from '@dit-moe/tensor-ops/io/node';
import * as tf from '@tensorflow/tfjs-core';
import { type Comparison, check, compare, json, tensors } from './golden.js';

export const area = 'metrics/inception';

/** Of the largest value, as the layout recommends. */
const tolerance = { layer: 5e-5, output: 1e-5, checksum: 1e-5, weighted: 1e-4, zeros: 1e-4, resize: 2e-5 };

export async function* run(folder: string): AsyncGenerator<Comparison> {
  const expected = json(path.join(folder, 'expected.json'));
  const arrays = tensors(path.join(folder, 'expected.safetensors'));
  const facts = json(path.join(folder, 'weights.json'));
  const source = formulaWeights(facts.seed);
  yield check(
    'tensors',
    Object.keys(facts.weights).every((name) => ignored(name) || source.names.includes(name)),
  );
  for (const name of source.names) {
    const { data } = await source.read(name);
    const bytes = new Uint8Array((data as Float32Array).buffer);
    yield check(`weights/${name}`, createHash('sha256').update(bytes).digest('hex') === facts.weights[name]?.sha256_le_float32);
  }
  const weights = await loadInception(source);
  try {
    for (const image of Object.keys(expected).filter((name) => expected[name].image_shape_HWC !== undefined))
      yield* compareImage(image, expected[image], arrays, weights);
    yield* endToEnd(folder, expected.end_to_end, arrays, weights);
  } finally {
    disposeInception(weights);
  }
}

type Arrays = ReturnType<typeof tensors>;
const numbers = async (x: tf.Tensor): Promise<Float32Array> => (await x.data()) as Float32Array;

/** Largest magnitude, to which tolerances are relative. */
const largest = (values: ArrayLike<number>): number => Array.from(values).reduce((m, v) => Math.max(m, Math.abs(v)), 0);

async function* compareImage(
  image: string,
  facts: { resized_299: Checksums; layers: Record<string, { shape_HWC: number[]; float64: Checksums }> },
  arrays: Arrays,
  weights: InceptionWeights,
): AsyncGenerator<Comparison> {
  const against = (name: string, actual: ArrayLike<number>, relative: number): Comparison => {
    const want = arrays.get(`${image}.${name}`)!.data as Float32Array;
    return compare(`${image}/${name}`, actual, want, { atol: relative * largest(want), rtol: 0 });
  };
  const pixels = arrays.get(`${image}.image`)!;
  const x = tf.tensor4d(pixels.data as Uint8Array, [1, ...pixels.shape] as [number, number, number, number], 'int32');

  const resized = resizeForInception(x);
  const crop = (of: tf.Tensor4D, row: number, column: number, size: number) => tf.slice(of, [0, row, column, 0], [1, size, size, 3]);
  const zeroTo255 = tf.add(tf.mul(resized, 128), 128) as tf.Tensor4D;
  const within = { atol: tolerance.resize, rtol: 0 };
  for (const [name, part] of [
    ['resized.crop_100_200', crop(zeroTo255, 100, 200, 16)],
    ['resized.crop_last', crop(zeroTo255, 287, 287, 12)],
  ] as const)
    yield compare(`${image}/${name}`, await numbers(part), arrays.get(`${image}.${name}`)!.data as Float32Array, within);
  yield* compareChecksums(`${image}/resized_299`, await numbers(zeroTo255), facts.resized_299);

  const layers = new Map<string, tf.Tensor4D>();
  const { pool, spatial, logits } = inception(weights, resized, (name, value) => layers.set(name, value));
  for (const [name, { shape_HWC: shape, float64 }] of Object.entries(facts.layers)) {
    const value = layers.get(name);
    if (value === undefined || value.shape.slice(1).join() !== shape.join()) {
      yield check(`${image}/${name}`, false, `found [${value?.shape}], expected [${shape}]`);
      continue;
    }
    yield* compareChecksums(`${image}/${name}`, await numbers(value), float64);
    const [height, width, channels] = shape as [number, number, number];
    const last = Math.min(16, channels);
    for (const [part, begin, size] of [
      ['top_left_3x3x16', [0, 0, 0], [3, 3, last]],
      ['bottom_right_3x3_last16', [height - 3, width - 3, channels - last], [3, 3, last]],
      ['centre_all_channels', [height >> 1, width >> 1, 0], [1, 1, channels]],
    ] as const)
      yield against(`${name}.${part}`, await numbers(tf.slice(value, [0, ...begin], [1, ...size])), tolerance.layer);
  }
  for (const [name, layer] of [
    ['features_64', 'MaxPool_1'],
    ['features_192', 'MaxPool_2'],
    ['features_768', 'Mixed_6e'],
  ] as const)
    yield against(name, await numbers(tf.mean(layers.get(layer)!, [1, 2])), tolerance.output);
  yield against('pool', await numbers(pool), tolerance.output);
  yield against('pool.float64', await numbers(pool), tolerance.output);
  yield against('spatial_nhwc_2023', await numbers(spatial), tolerance.layer);
  yield against('logits_unbiased', await numbers(logits), tolerance.output);
  yield against('logits', await numbers(tf.add(logits, weights.fcBias)), tolerance.output);

  const halfPixel = resizeForInception(x, 'pytorch-fid');
  const part = await numbers(crop(halfPixel, 100, 200, 16));
  const wanted = arrays.get(`${image}.pytorch_fid_input.crop_100_200`)!.data as Float32Array;
  yield compare(`${image}/pytorch_fid_input.crop_100_200`, part, wanted, { atol: tolerance.resize, rtol: 0 });
  yield against('pytorch_fid_input.pool', await numbers(inception(weights, halfPixel).pool), tolerance.output);
}

interface Checksums {
  count: number;
  mean: number;
  std_population: number;
  min: number;
  max: number;
  zeros_fraction: number;
  sum: number;
  sum_abs: number;
  weighted_sum: number;
}

function* compareChecksums(name: string, values: Float32Array, want: Checksums): Generator<Comparison> {
  let [sum, sumAbs, weighted, squares, zeros] = [0, 0, 0, 0, 0];
  let [min, max] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (let i = 0; i < values.length; i++) {
    const v = values[i];
    sum += v;
    sumAbs += Math.abs(v);
    weighted += v * ((i % 97) - 48);
    squares += v * v;
    if (v === 0) zeros++;
    min = Math.min(min, v);
    max = Math.max(max, v);
  }
  const mean = sum / values.length;
  const near = (field: string, actual: number, expected: number, atol: number) =>
    compare(`${name}/${field}`, [actual], [expected], { atol, rtol: 0 });
  yield check(`${name}/count`, values.length === want.count);
  yield near('mean', mean, want.mean, tolerance.checksum * Math.abs(want.mean));
  yield near('sum', sum, want.sum, tolerance.checksum * Math.abs(want.sum));
  yield near('sum_abs', sumAbs, want.sum_abs, tolerance.checksum * want.sum_abs);
  yield near('std', Math.sqrt(squares / values.length - mean ** 2), want.std_population, tolerance.layer * want.std_population);
  yield near('min', min, want.min, tolerance.layer * want.max);
  yield near('max', max, want.max, tolerance.layer * want.max);
  yield near('weighted_sum', weighted, want.weighted_sum, tolerance.weighted * want.sum_abs);
  yield near('zeros_fraction', zeros / values.length, want.zeros_fraction, tolerance.zeros);
}

async function* endToEnd(
  folder: string,
  want: Record<string, number> | undefined,
  arrays: Arrays,
  weights: InceptionWeights,
): AsyncGenerator<Comparison> {
  if (want === undefined) return;
  const outputs: Record<string, Record<'pool' | 'spatial' | 'logits', ReturnType<typeof features>>> = {};
  for (const side of ['reference', 'sample']) {
    const file = path.join(folder, `end_to_end_${side}.npz`);
    if (!fs.existsSync(file)) return;
    const { arrays: npz, close } = await openNpz(file);
    const images = await npz.read(npz.names[0]).finally(close);
    const x = tf.tensor4d(images.data as Uint8Array, images.shape as [number, number, number, number], 'int32');
    const found = inception(weights, resizeForInception(x));
    for (const [name, value] of [
      ['pool', found.pool],
      ['spatial_nhwc_2023', found.spatial],
    ] as const) {
      const expected = arrays.get(`end_to_end.${side}.${name}`)?.data as Float32Array | undefined;
      const relative = name === 'pool' ? tolerance.output : tolerance.layer;
      if (expected !== undefined)
        yield compare(`end_to_end/${side}.${name}`, await numbers(value), expected, { atol: relative * largest(expected), rtol: 0 });
    }
    const rows = async (x2: tf.Tensor2D) => features(await numbers(x2), x2.shape[1]);
    outputs[side] = { pool: await rows(found.pool), spatial: await rows(found.spatial), logits: await rows(found.logits) };
  }
  const { reference, sample } = outputs as Record<'reference' | 'sample', (typeof outputs)[string]>;
  yield compare('end_to_end/fid', [frechetDistanceOf(reference.pool, sample.pool).distance], [want['fid']], { rtol: 1e-5 });
  yield compare('end_to_end/sfid', [frechetDistanceOf(reference.spatial, sample.spatial).distance], [want['sfid']], { rtol: 1e-5 });
  yield compare('end_to_end/inception_score', [inceptionScoreBySplits(sample.logits, 1).mean], [want['inception_score_sample_one_split']], {
    rtol: 1e-5,
  });
}

/** Buffers of PyTorch's batch norms that no network reads. */
const ignored = (name: string): boolean => name.endsWith('num_batches_tracked');

/** The weights that the layout's README defines by a hash of name and index. */
function formulaWeights(seed: number): WeightSource {
  const shapes = inceptionShapes();
  return {
    names: [...shapes.keys()],
    info: (name) => ({ dtype: 'F32', shape: shapes.get(name)! }),
    async read(name) {
      const shape = shapes.get(name)!;
      let hash = 0x811c9dc5;
      for (const byte of new TextEncoder().encode(name)) hash = Math.imul(hash ^ byte, 0x01000193);
      hash = (hash ^ seed) >>> 0;
      const [scale, offset] = range(name, shape);
      const data = new Float32Array(shape.reduce((a, b) => a * b, 1));
      for (let i = 0; i < data.length; i++) {
        let x = (hash + Math.imul(i, 0x9e3779b9)) >>> 0;
        x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
        x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
        x = (x ^ (x >>> 16)) >>> 0;
        data[i] = offset + scale * (x / 2 ** 31 - 1);
      }
      return { dtype: 'F32', shape: [...shape], data };
    },
  };
}

function range(name: string, shape: readonly number[]): [scale: number, offset: number] {
  if (name === 'fc.weight') return [Math.sqrt(48 / shape[1]), 0];
  if (name.endsWith('conv.weight')) return [Math.sqrt(6 / shape.slice(1).reduce((a, b) => a * b, 1)), 0];
  if (name.endsWith('bn.weight')) return [0.2, 1];
  if (name.endsWith('running_var')) return [0.3, 1];
  return [0.1, 0];
}
