/**
 * Sparse upcycling (Komatsuzaki et al. 2022): the experts of a mixture start as copies of a trained dense layer. With granularity
 * G each copy is cut into G experts along its hidden width, and the router's vectors are the same for the G parts of a copy, so
 * that a token gets all parts of a copy together ("virtual groups", He et al. 2024, arXiv 2410.07524).
 *
 * The model computes what it computed before: exactly (up to rounding) if the weights of the chosen experts are renormalised, or
 * if the router starts at zero; nearly, if the router is small: softmax over E experts then gives each about 1 / E, and the
 * experts' outputs are scaled up by what is missing to 1.
 */
import { ArgumentError, initialWeight, randomNormal } from '@dit-moe/tensor-ops';
import type { NamedArray } from '../checkpoints/convert.js';
import { type DitConfig, ditSizes } from '../config.js';
import { hasExperts, type MoeConfig, type MoeLayers } from '../moe/moe-config.js';
import { weightSpecs } from '../weights.js';
import { blockOf, type WeightStream } from './model-weights.js';

/** How a dense model becomes one of experts. */
export interface UpcycleOptions {
  /** Routed experts in all, a multiple of `granularity`. */
  numExperts: number;
  /** Experts per token, a multiple of `granularity`. */
  topK: number;
  /** Parts that each copy is cut into (default 1: whole copies). */
  granularity?: number;
  /** Blocks that get experts (default `all`). */
  layers?: MoeLayers;
  /** Renormalise the weights of the chosen experts (default false, as DiT-MoE). */
  normalizeTopK?: boolean;
  /** Width of a shared expert as a multiple of the model's (default 0: none); its output starts at zero. */
  sharedRatio?: number;
  /**
   * Standard deviation of the router's weights (default 1e-4: near zero, so that the function is kept, but not zero, so that tokens
   * spread over the copies).
   */
  routerStd?: number;
  /** Standard deviation of noise on the experts' matrices, relative to theirs (default 0); it makes copies differ, and the function too. */
  noise?: number;
  /** Weight of the balance loss (default 0.01). */
  balanceAlpha?: number;
  /** Seed of router, noise and shared expert (default 0). */
  seed?: number;
}

/**
 * A model with experts from one without.
 *
 * @param source a dense model: GELU layers (DiT, Meta's weights) become GELU experts with biases, SwiGLU layers SwiGLU experts
 * @returns the model's configuration and its weights, made one at a time as they are read
 * @throws ArgumentError if the source has experts, or numbers do not fit each other
 */
export function upcycle(source: WeightStream, options: UpcycleOptions): WeightStream {
  const { granularity = 1, sharedRatio = 0, balanceAlpha = 0.01, layers, normalizeTopK = false, numExperts, topK } = options;
  if (source.config.moe !== undefined) throw new ArgumentError('upcycle', 'a dense model', 'one with experts');
  if (source.config.mlp === 'swiglu-bias')
    throw new ArgumentError('upcycle', 'GELU layers, or SwiGLU layers without biases', 'SwiGLU layers with biases, which no experts have');
  const { mlpHidden } = ditSizes(source.config);
  for (const [name, value] of Object.entries({ numExperts, topK, mlpHidden }))
    if (!Number.isInteger(value / granularity) || value < granularity)
      throw new ArgumentError(`upcycle: ${name}`, `a multiple of the granularity ${granularity}`, value);
  const moe: MoeConfig = {
    numExperts,
    topK,
    expertRatio: mlpHidden / granularity / source.config.hiddenSize,
    sharedRatio,
    balanceAlpha,
    ...(source.config.mlp !== 'swiglu' && { experts: 'gelu' as const }),
    ...(layers !== undefined && { layers }),
    ...(normalizeTopK && { normalizeTopK }),
  };
  const config: DitConfig = { ...source.config, moe };
  ditSizes(config);
  return { config, weights: () => upcycled(source, config, options) };
}

async function* upcycled(
  source: WeightStream,
  config: DitConfig,
  options: UpcycleOptions,
): AsyncGenerator<[name: string, value: NamedArray]> {
  const { granularity: parts = 1, seed = 0, routerStd = 1e-4, noise = 0, normalizeTopK = false, numExperts, topK } = options;
  const { hiddenSize: d } = config;
  const { expertHidden: hidden } = ditSizes(config);
  const copies = numExperts / parts;
  const specs = weightSpecs(config);
  // A chosen copy's parts have the weight 1 / topK each if renormalised, else about 1 / numExperts; topK / parts copies are chosen.
  const scale = normalizeTopK ? parts : (numExperts * parts) / topK;
  const named = (name: string, data: Float32Array): [string, NamedArray] => [name, { shape: specs[name].shape, data }];
  const fresh = (name: string): [string, NamedArray] => named(name, initialWeight(name, specs[name], seed));
  const noisy = (name: string, data: Float32Array): Float32Array => {
    if (noise === 0) return data;
    const std = noise * Math.sqrt(data.reduce((sum, v) => sum + v * v, 0) / data.length);
    const random = randomNormal({ seed, purpose: `upcycle.${name}`, index: 0 }, data.length);
    return data.map((v, i) => v + std * random[i]);
  };
  /** One expert after another, each filled by `fill(expert, part, offset)`. */
  const stack = (name: string, size: number, fill: (out: Float32Array, part: number) => void): [string, NamedArray] => {
    const data = new Float32Array(numExperts * size);
    for (let part = 0; part < parts; part++) {
      const one = new Float32Array(size);
      fill(one, part);
      for (let copy = 0; copy < copies; copy++) data.set(one, (copy * parts + part) * size);
    }
    return named(name, noisy(name, data));
  };
  /** Columns of `[rows, columns]` into `out`. */
  const columns = (out: Float32Array, from: Float32Array, width: number, first: number, count: number): void => {
    for (let r = 0; r < from.length / width; r++) for (let c = 0; c < count; c++) out[r * count + c] = from[r * width + first + c];
  };
  const router = (name: string): [string, NamedArray] => {
    const groups = randomNormal({ seed, purpose: `upcycle.${name}`, index: 0 }, d * copies);
    const data = new Float32Array(d * numExperts);
    for (let i = 0; i < d; i++)
      for (let e = 0; e < numExperts; e++) data[i * numExperts + e] = routerStd * groups[i * copies + Math.floor(e / parts)];
    return named(name, data);
  };

  for await (const [name, value] of source.weights()) {
    const place = blockOf(name);
    if (place === undefined || !place.part.startsWith('mlp.') || !hasExperts(config, place.block)) {
      yield [name, value];
      continue;
    }
    const moe = `blocks.${place.block}.moe`;
    const { data } = value;
    switch (place.part) {
      case 'mlp.gateUp':
        yield router(`${moe}.gate`);
        yield stack(`${moe}.experts.gateUp`, d * 2 * hidden, (out, part) => {
          for (const half of [0, 1]) {
            const from = data.subarray(half * d * hidden * parts, (half + 1) * d * hidden * parts);
            columns(out.subarray(half * d * hidden), from, hidden * parts, part * hidden, hidden);
          }
        });
        break;
      case 'mlp.0.weight':
        yield router(`${moe}.gate`);
        yield stack(`${moe}.experts.up`, d * hidden, (out, part) => columns(out, data, hidden * parts, part * hidden, hidden));
        break;
      case 'mlp.0.bias':
        yield stack(`${moe}.experts.upBias`, hidden, (out, part) => out.set(data.subarray(part * hidden, (part + 1) * hidden)));
        break;
      case 'mlp.1.bias':
        // Each part adds its share.
        yield stack(`${moe}.experts.downBias`, d, (out) => out.set(data.map((v) => (scale / parts) * v)));
        break;
      default:
        yield stack(`${moe}.experts.down`, hidden * d, (out, part) =>
          out.set(data.subarray(part * hidden * d, (part + 1) * hidden * d).map((v) => scale * v)),
        );
    }
    const isLast = place.part === (config.mlp === 'swiglu' ? 'mlp.down' : 'mlp.1.bias');
    if (isLast && specs[`${moe}.shared.gateUp`] !== undefined) {
      yield fresh(`${moe}.shared.gateUp`);
      const down = `${moe}.shared.down`;
      yield named(down, new Float32Array(specs[down].shape.reduce((a, b) => a * b, 1)));
    }
  }
}
