/**
 * An autoencoder ready for use: weights prepared for inference, one compiled step per size of picture, batches cut to fit a memory
 * budget, strips or tiles for large pictures, and 8-bit pixels in and out.
 */
import { imagesOfPixels, type Pixels, pixelRoundings, type Rounding } from '@dit-moe/data';
import { ArgumentError, type CompiledStep, compile, type Precision, packFilter, roundMaps, tensorFlowBackend } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { decodeChannelsLast, encodeChannelsLast, type PassOptions, padImages, unscaleLatents } from './autoencoder.js';
import { type AutoencoderConfig, downscale } from './config.js';
import { phaseName, winogradName } from './layers.js';
import { activationBytes, batchSizeFor } from './memory.js';
import { decodeInStrips, encodeInStrips } from './strips/strips.js';
import { decodeTiled, encodeTiled, type TilingOptions } from './tiling.js';
import { phaseFilters } from './upsampling.js';
import type { AutoencoderWeights } from './weights.js';
import { winogradFilters, winogradPays } from './winograd.js';

/** Precision and memory of a compiled autoencoder. */
export interface AutoencoderOptions {
  /** Precision of convolutions and linear maps (default `f32`). `bf16` is used where the processor multiplies faster in it, else float32. */
  precision?: Precision;
  /**
   * Bytes that one call may use for activations (default 2 GiB). Larger batches are cut; a single picture that needs more is computed
   * in strips of rows, which takes less than half of the memory and gives the same numbers up to rounding.
   */
  memoryBudget?: number;
  /**
   * Pictures larger than a tile are encoded and decoded in tiles, as diffusers does (default: never). Memory is then that of a tile
   * whatever the size of the picture, but the result differs; see `TilingOptions`.
   */
  tiling?: TilingOptions;
  /** How decoded pictures become 8-bit pixels (default `dit`, as the reference's sampling scripts). */
  rounding?: Rounding;
}

const DEFAULT_MEMORY_BUDGET = 2 ** 31;

/** A picture of so many pixels keeps every core busy; the group norm of a single map in bfloat16 has a faster form than that of several. */
const BUSY_PIXELS = 2 ** 16;

const channelsLast = (x: tf.Tensor): tf.Tensor => tf.transpose(x, [0, 2, 3, 1]);
const channelsFirst = (x: tf.Tensor): tf.Tensor => tf.transpose(x, [0, 3, 1, 2]);

/** A pass over channels-last images, or from latents to them, and what is done to its input and its output. */
interface Pass {
  part: 'encode' | 'decode';
  before(x: tf.Tensor): tf.Tensor;
  after(y: tf.Tensor): tf.Tensor;
}

/** A compiled autoencoder, or half of one. */
export class Autoencoder {
  readonly config: AutoencoderConfig;
  /** What convolutions and linear maps are computed in on this machine. */
  readonly precision: Precision;
  private readonly weights: Record<string, tf.Tensor>;
  private readonly steps = new Map<string, CompiledStep<tf.Tensor[], tf.Tensor>>();
  private readonly memoryBudget: number;
  private readonly tiling: TilingOptions | undefined;
  private readonly rounding: Rounding;
  private readonly rounded: boolean;
  private readonly options: PassOptions;
  private readonly passes: Readonly<Record<'encode' | 'encodePixels' | 'decode' | 'decodePixels', Pass>>;

  /**
   * @param weights of `loadAutoencoder`, whole or one half; they are disposed of: prepared copies are kept
   * @throws ArgumentError if the memory budget is not positive
   */
  constructor(weights: AutoencoderWeights, config: AutoencoderConfig, options: AutoencoderOptions = {}) {
    const { precision = 'f32', memoryBudget = DEFAULT_MEMORY_BUDGET, tiling, rounding = 'dit' } = options;
    if (!(memoryBudget > 0)) throw new ArgumentError('Autoencoder: memoryBudget', 'a positive number of bytes', memoryBudget);
    this.config = config;
    this.precision = precisionHere(precision);
    // Not tried on GPUs.
    this.rounded = this.precision === 'bf16' && tensorFlowBackend()?.isUsingGpuDevice === false;
    this.options = { precision: this.precision };
    this.passes = {
      encode: { part: 'encode', before: channelsLast, after: channelsFirst },
      encodePixels: { part: 'encode', before: imagesOfPixels, after: channelsFirst },
      decode: { part: 'decode', before: (z) => z, after: channelsFirst },
      decodePixels: { part: 'decode', before: (z) => unscaleLatents(z, config), after: pixelRoundings[rounding] },
    };
    this.memoryBudget = memoryBudget;
    this.tiling = tiling;
    this.rounding = rounding;
    this.weights = prepareWeights(weights, this.precision);
  }

  /** Images of `[B, C, H, W]` in [-1, 1] as moments `[B, 2 latentChannels, h, w]`; sizes that do not fit are refused, see {@link pad}. */
  async encode(images: tf.Tensor): Promise<tf.Tensor> {
    const [, , height, width] = images.shape as [number, number, number, number];
    if (!this.tiles(height, width)) return this.run('encode', images, [height, width]);
    return encodeTiled(this.config, images, (tile) => this.run('encode', tile, tile.shape.slice(2)), this.tiling);
  }

  /** Latents `[B, latentChannels, h, w]`, unscaled, as images `[B, C, H, W]`, about [-1, 1], not clipped. */
  async decode(latents: tf.Tensor): Promise<tf.Tensor> {
    const size = this.pictureSize(latents);
    if (!this.tiles(...size)) return this.run('decode', latents, size);
    return decodeTiled(this.config, latents, (tile) => this.run('decode', tile, this.pictureSize(tile)), this.tiling);
  }

  /** The next larger sizes that can be encoded, by repeating the last row and column. */
  pad(images: tf.Tensor): tf.Tensor {
    return padImages(images, this.config);
  }

  /**
   * Moments of 8-bit pictures, `v / 127.5 - 1` before the encoder.
   * @param pixels `[count, height, width, 3]`
   * @returns `[count, 2 latentChannels, h, w]`
   */
  async encodePixels({ data, count, height, width, channels }: Pixels): Promise<tf.Tensor> {
    const pixels = tf.tensor(data, [count, height, width, channels], 'int32');
    try {
      if (!this.tiles(height, width)) return await this.run('encodePixels', pixels, [height, width]);
      const images = tf.tidy(() => channelsFirst(imagesOfPixels(pixels)));
      return await this.encode(images).finally(() => images.dispose());
    } finally {
      pixels.dispose();
    }
  }

  /**
   * Pictures of latents in the units of a diffusion model.
   * @param latents `[B, latentChannels, h, w]`, scaled as by `scaleLatents`
   */
  async decodeToPixels(latents: tf.Tensor): Promise<Pixels> {
    const [height, width] = this.pictureSize(latents);
    let rounded: tf.Tensor;
    if (this.tiles(height, width)) {
      const unscaled = tf.tidy(() => unscaleLatents(latents, this.config));
      const images = await this.decode(unscaled).finally(() => unscaled.dispose());
      rounded = tf.tidy(() => pixelRoundings[this.rounding](channelsLast(images)));
      images.dispose();
    } else rounded = await this.run('decodePixels', latents, [height, width]);
    try {
      return { data: Uint8Array.from(await rounded.data()), count: latents.shape[0], height, width, channels: this.config.outChannels };
    } finally {
      rounded.dispose();
    }
  }

  /** Frees weights and compiled steps. */
  dispose(): void {
    for (const step of this.steps.values()) step.dispose();
    this.steps.clear();
    tf.dispose(this.weights);
  }

  private tiles(height: number, width: number): boolean {
    return this.tiling !== undefined && Math.max(height, width) > (this.tiling.tileSize ?? this.config.sampleSize);
  }

  private pictureSize(latents: tf.Tensor): [number, number] {
    const scale = downscale(this.config);
    return [latents.shape[2]! * scale, latents.shape[3]! * scale];
  }

  /**
   * One pass over pictures of this size: compiled, as many at a time as the memory budget allows; in strips where it does not allow one.
   */
  private async run(name: keyof typeof this.passes, x: tf.Tensor, [height, width]: number[]): Promise<tf.Tensor> {
    const { part } = this.passes[name];
    const workload = { part, height: height, width: width };
    const fits = activationBytes(this.config, workload) <= this.memoryBudget;
    const work = (y: tf.Tensor): Promise<tf.Tensor> => (fits ? this.step(name).run(y) : this.runInStrips(name, y));
    const count = x.shape[0];
    const single = !fits || (this.rounded && height * width >= BUSY_PIXELS);
    const most = single ? 1 : batchSizeFor(this.config, { ...workload, memoryBudget: this.memoryBudget });
    if (count <= most) return work(x);
    const parts: tf.Tensor[] = [];
    try {
      for (let from = 0; from < count; from += most) {
        const slice = tf.slice(x, [from, 0, 0, 0], [Math.min(most, count - from), -1, -1, -1]);
        parts.push(await work(slice).finally(() => slice.dispose()));
      }
      return tf.concat(parts, 0);
    } finally {
      tf.dispose(parts);
    }
  }

  private step(name: keyof typeof this.passes): CompiledStep<tf.Tensor[], tf.Tensor> {
    let step = this.steps.get(name);
    if (step === undefined) {
      const { part, before, after } = this.passes[name];
      const pass = part === 'encode' ? encodeChannelsLast : decodeChannelsLast;
      step = compile(
        (...[x]: tf.Tensor[]) => after(pass(this.weights, this.config, before(x), { ...this.options, rounded: this.rounded })),
        {
          name: `autoencoder-${name}`,
          rewrite: true,
        },
      );
      this.steps.set(name, step);
    }
    return step;
  }

  private async runInStrips(name: keyof typeof this.passes, x: tf.Tensor): Promise<tf.Tensor> {
    const { part, before, after } = this.passes[name];
    const input = tf.tidy(() => before(x).clone());
    const pass = part === 'encode' ? encodeInStrips : decodeInStrips;
    const result = await pass(this.weights, this.config, input, this.options).finally(() => input.dispose());
    return tf.tidy(() => {
      const y = after(result).clone();
      result.dispose();
      return y;
    });
  }
}

/** What products are computed in: bfloat16 only where it was asked for and the processor is good at it. */
const precisionHere = (asked: Precision): Precision => (asked === 'bf16' && tensorFlowBackend()?.bf16Products === true ? 'bf16' : 'f32');

/** Weights in the forms that inference multiplies with; those given are disposed of. */
function prepareWeights(weights: AutoencoderWeights, precision: Precision): Record<string, tf.Tensor> {
  const prepared: Record<string, tf.Tensor> = {};
  const fastest = (weight: tf.Tensor): tf.Tensor => {
    if (precision === 'f32') return weight.rank === 4 ? packFilter(weight) : tf.clone(weight);
    const rounded = weight.rank === 1 ? weight : roundMaps(weight);
    return rounded === weight ? tf.clone(weight) : rounded;
  };
  for (const [name, weight] of Object.entries(weights)) {
    if (/upsamplers\.0\.conv\.weight$/.test(name)) {
      const filters = phaseFilters(weight);
      for (const [i, filter] of filters.entries()) prepared[phaseName(name.replace(/\.weight$/, ''), i)] = tf.keep(fastest(filter));
      tf.dispose(filters);
    } else if (/resnets\.\d+\.conv[12]\.weight$/.test(name) && winogradPays(weight.shape)) {
      const filters = winogradFilters(weight);
      for (const [i, filter] of filters.entries()) prepared[winogradName(name.replace(/\.weight$/, ''), i)] = tf.keep(fastest(filter));
      tf.dispose(filters);
    } else prepared[name] = tf.keep(fastest(weight));
    weight.dispose();
  }
  return prepared;
}
