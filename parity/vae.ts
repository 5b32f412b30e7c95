/** Autoencoders: key dialects, moments, posterior, decoding, module outputs, tiling, training loss and gradients. */
import fs from 'node:fs';
import path from 'node:path';
import { openCheckpoint } from '@dit-moe/tensor-ops/io/node';
import {
  type AutoencoderWeights,
  autoencoderConfig,
  decodeLatents,
  decodeTiled,
  deviation,
  encodeMoments,
  encodeTiled,
  loadAutoencoder,
  type Part,
  posteriorKl,
  posteriorNll,
  posteriorOf,
  samplePosterior,
  scaleLatents,
  unscaleLatents,
  weightShapes,
} from '@dit-moe/vae';
import * as tf from '@tensorflow/tfjs-core';
import { type Comparison, check, compare, instances, json, tensors } from './golden.js';
import { onDevice } from './reference-model.js';

export const area = 'vae';

const WEIGHTS = 'diffusion_pytorch_model.safetensors';
/** Relative to the largest magnitude of each tensor, as the layout recommends. */
const tolerance = { output: 2e-5, posterior: 1e-6, sum: 1e-5, gradient: 1e-4 };

export async function* run(folder: string, root: string): AsyncGenerator<Comparison> {
  for (const instance of instances(folder, WEIGHTS, root)) yield* compareAutoencoder(instance);
}

async function load(file: string, config: ReturnType<typeof autoencoderConfig>, parts?: readonly Part[]) {
  const checkpoint = await openCheckpoint(file);
  try {
    return await loadAutoencoder(checkpoint, config, parts);
  } finally {
    await checkpoint.close();
  }
}

async function* compareAutoencoder(folder: string): AsyncGenerator<Comparison> {
  const id = path.basename(folder);
  const config = autoencoderConfig(json(path.join(folder, 'config.json')));
  const expected = tensors(path.join(folder, 'expected.safetensors'));
  const facts = json(path.join(folder, 'expected.json'));
  const input = (name: string): tf.Tensor => onDevice(expected, name);
  const numbers = async (x: tf.Tensor): Promise<ArrayLike<number>> => (await x.data()) as ArrayLike<number>;
  const against = (name: string, actual: ArrayLike<number>, relative: number): Comparison => {
    const want = expected.get(name)!.data as Float32Array;
    const largest = want.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
    return compare(`${id}/${name}`, actual, want, { atol: relative * largest, rtol: 0 });
  };

  // Names and files
  const shapes = json(path.join(folder, 'key_shapes.json'));
  const sorted = (entries: [string, unknown][]) => JSON.stringify(entries.sort(([a], [b]) => (a < b ? -1 : 1)));
  yield check(`${id}/key_shapes`, sorted([...weightShapes(config)]) === sorted(Object.entries(shapes)));
  const early = path.join(folder, 'config_no_scaling_factor.json');
  if (fs.existsSync(early)) {
    const { scalingFactor, shiftFactor, useQuantConv, usePostQuantConv } = autoencoderConfig(json(early));
    yield check(`${id}/${path.basename(early)}`, scalingFactor === 0.18215 && shiftFactor === 0 && useQuantConv && usePostQuantConv);
  }
  const { weights, dialect } = await load(path.join(folder, WEIGHTS), config);
  yield check(`${id}/${WEIGHTS} has current names`, dialect === 'current', dialect);
  for (const file of fs.readdirSync(folder).filter((name) => /^older_names|\.ckpt$/.test(name))) {
    const other = await load(path.join(folder, file), config);
    const wanted = file.endsWith('.ckpt') ? 'compvis' : 'older';
    yield check(`${id}/${file} has ${wanted} names`, other.dialect === wanted, other.dialect);
    for (const [name, tensor] of Object.entries(weights))
      yield compare(`${id}/${file}/${name}`, await numbers(other.weights[name]), await numbers(tensor), { rtol: 0 });
    tf.dispose(other.weights as Record<string, tf.Tensor>);
  }
  for (const part of ['encoder', 'decoder'] as const) {
    const half = await load(path.join(folder, WEIGHTS), config, [part]);
    yield check(`${id}/${part} alone`, Object.keys(half.weights).length === weightShapes(config, [part]).size);
    tf.dispose(half.weights as Record<string, tf.Tensor>);
  }

  // Encoding, posterior, decoding
  for (const kind of ['sq', 'rect']) {
    const traced: Record<string, tf.Tensor> = {};
    const trace = (name: string, value: tf.Tensor) => (traced[name] = value);
    const moments = encodeMoments(weights, config, input(`${kind}.input`), { trace });
    const posterior = posteriorOf(moments);
    const sample = samplePosterior(posterior, input(`${kind}.noise`));
    const found: Record<string, tf.Tensor> = {
      moments,
      mean: posterior.mean,
      mode: posterior.mean,
      logvar: posterior.logVariance,
      std: deviation(posterior),
      sample,
      scaled_sample: scaleLatents(sample, config),
      decode_of_sample: decodeLatents(weights, config, sample, { trace }),
      decode_of_z: decodeLatents(weights, config, unscaleLatents(input(`${kind}.z`), config)),
    };
    for (const [name, value] of Object.entries(found)) yield against(`${kind}.${name}`, await numbers(value), tolerance.output);
    yield against(`${kind}.kl`, await numbers(posteriorKl(posterior)), tolerance.sum);
    yield against(`${kind}.nll_of_sample`, await numbers(posteriorNll(posterior, sample)), tolerance.sum);
    for (const name of expected.keys()) {
      const module = new RegExp(`^${kind}\\.act\\.(.+?)(\\.float64)?$`).exec(name);
      if (module === null || module[2] !== undefined) continue;
      const value = traced[module[1]];
      if (value === undefined) {
        yield check(`${id}/${name}`, false, 'not traced');
        continue;
      }
      const [, channels] = expected.get(name)!.shape as [number, number];
      const [, height, width] = value.shape as [number, number, number];
      const first = tf.transpose(tf.slice(value, [0, 0, 0, 0], [1, height, width, channels]), [0, 3, 1, 2]);
      yield against(name, await numbers(first), tolerance.output);
    }
  }
  if (expected.has('posterior.moments')) {
    const posterior = posteriorOf(input('posterior.moments'));
    const found: Record<string, tf.Tensor> = {
      mean: posterior.mean,
      logvar: posterior.logVariance,
      std: deviation(posterior),
      var: tf.exp(posterior.logVariance),
      sample: samplePosterior(posterior, input('posterior.noise')),
      kl: posteriorKl(posterior),
      kl_p_q: posteriorKl(posteriorOf(input('posterior.moments_p')), posteriorOf(input('posterior.moments_q'))),
    };
    for (const [name, value] of Object.entries(found)) yield against(`posterior.${name}`, await numbers(value), tolerance.posterior);
  }

  // Tiles
  if (expected.has('tiled.z')) {
    const { tile_sample_min_size: tileSize, tile_overlap_factor: overlap } = facts.tiling;
    const decode = (z: tf.Tensor) => tf.tidy(() => decodeLatents(weights, config, z));
    const encode = (x: tf.Tensor) => tf.tidy(() => encodeMoments(weights, config, x));
    const [z, image] = [input('tiled.z'), input('tiled.image')];
    yield against('tiled.decode', await numbers(await decodeTiled(config, z, decode, { tileSize, overlap })), tolerance.output);
    yield against('tiled.encode_moments', await numbers(await encodeTiled(config, image, encode, { tileSize, overlap })), tolerance.output);
    yield against('tiled.untiled_decode', await numbers(decode(z)), tolerance.output);
    yield against('tiled.untiled_moments', await numbers(encode(image)), tolerance.output);
  }

  // Training
  const names = Object.keys(weights);
  const image = input('sq.input');
  const noise = input('sq.noise');
  const loss = (x: tf.Tensor, ...values: tf.Tensor[]): tf.Scalar => {
    const now: AutoencoderWeights = Object.fromEntries(names.map((name, i) => [name, values[i]]));
    const posterior = posteriorOf(encodeMoments(now, config, x));
    const reconstruction = tf.mean(tf.squaredDifference(decodeLatents(now, config, samplePosterior(posterior, noise)), image));
    return tf.add(reconstruction, tf.mul(facts.loss.kl_weight, tf.mean(posteriorKl(posterior))));
  };
  const { value, grads } = tf.valueAndGrads((...all: tf.Tensor[]) => loss(all[0], ...all.slice(1)))([image, ...Object.values(weights)]);
  yield compare(`${id}/loss`, await numbers(value), [facts.loss.float64.loss], { rtol: 1e-5 });
  const gradients = new Map(names.map((name, i) => [name, asTorch(grads[i + 1])]));
  let squares = 0;
  for (const [name, gradient] of gradients) {
    const norm = Math.sqrt((await numbers(tf.sum(tf.square(gradient))))[0]);
    squares += norm * norm;
    yield compare(`${id}/gradient norm of ${name}`, [norm], [facts.grad_norms_float64[name]], { rtol: 1e-4, atol: 1e-7 });
  }
  yield compare(`${id}/global gradient norm`, [Math.sqrt(squares)], [facts.grad_global_norm_float64], { rtol: 1e-4 });
  for (const name of expected.keys()) {
    const of = /^grad\.(.+?)(\.float64)?$/.exec(name);
    if (of === null || of[2] !== undefined || of[1] === 'input') continue;
    const gradient = await numbers(tf.reshape(gradients.get(of[1])!, expected.get(name)!.shape));
    if (of[1].endsWith('to_k.bias'))
      yield compare(`${id}/${name}`, gradient, expected.get(name)!.data as Float32Array, { atol: 1e-7, rtol: 0 });
    else yield against(name, gradient, tolerance.gradient);
  }
  if (expected.has('grad.input')) {
    // The image is the target, too.
    const direct = tf.grad((x: tf.Tensor) => {
      const posterior = posteriorOf(encodeMoments(weights, config, x));
      const decoded = decodeLatents(weights, config, samplePosterior(posterior, noise));
      return tf.add(tf.mean(tf.squaredDifference(decoded, x)), tf.mul(facts.loss.kl_weight, tf.mean(posteriorKl(posterior))));
    })(image);
    yield against('grad.input', await numbers(direct), tolerance.gradient);
  }
}

/** A gradient in PyTorch's layout. */
function asTorch(x: tf.Tensor): tf.Tensor {
  if (x.rank === 4) return tf.transpose(x, [3, 2, 0, 1]);
  return x.rank === 2 ? tf.transpose(x) : x;
}
