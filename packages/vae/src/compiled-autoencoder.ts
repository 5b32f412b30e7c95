/**
 * An autoencoder ready for use: weights prepared for inference, one compiled step per size of picture, batches cut to fit a memory
 * budget, tiles for large pictures, and 8-bit pixels in and out.
 */
import {
  ArgumentError,
  type CompiledStep,
  compile,
  conv2d,
  DataType,
  type Precision,
  packFilter,
  tensorFlowBackend,
} from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { decodeChannelsLast, encodeChannelsLast, type PassOptions, padImages, unscaleLatents } from './autoencoder.js';
import { type AutoencoderConfig, downscale } from './config.js';
import { batchSizeFor } from './memory.js';
import { imagesOfPixels, pixelRoundings, type Rounding } from './pixels.js';
import { decodeTiled, encodeTiled, type TilingOptions } from './tiling.js';
import type { AutoencoderWeights } from './weights.js';

export interface AutoencoderOptions {
  /**
   * Precision of convolutions and linear maps (default `f32`). `auto` takes bfloat16 where this machine convolves faster in it,
   * which is measured once: processors without matrix units often do not.
   */
  precision?: Precision | 'auto';
  /** Bytes that one call may use for activations (default 2 GiB); larger batches are cut. A single picture is always tried. */
  memoryBudget?: number;
  /** Pictures larger than a tile are encoded and decoded in tiles (default: never); the result differs slightly at the seams. */
  tiling?: TilingOptions;
  /** How decoded pictures become 8-bit pixels (default `dit`, as the reference's sampling scripts). */
  rounding?: Rounding;
}

/** 8-bit pictures of one size, the channels of a pixel together. */
export interface Pixels {
  /** `[count, height, width, channels]`. */
  data: Uint8Array;
  count: number;
  height: number;
  width: number;
  channels: number;
}

const DEFAULT_MEMORY_BUDGET = 2 ** 31;

/** A compiled autoencoder, or half of one. */
export class Autoencoder {
  readonly config: AutoencoderConfig;
  /** What convolutions and linear maps are computed in. */
  readonly precision: Precision;
  private readonly weights: Record<string, tf.Tensor>;
  private readonly steps = new Map<string, CompiledStep<tf.Tensor[], tf.Tensor>>();
  private readonly memoryBudget: number;
  private readonly tiling: TilingOptions | undefined;
  private readonly rounding: Rounding;
  private readonly pass: PassOptions;

  /**
   * @param weights of `loadAutoencoder`, whole or one half; they are disposed of: prepared copies are kept
   * @throws ArgumentError if the memory budget is not positive
   */
  constructor(weights: AutoencoderWeights, config: AutoencoderConfig, options: AutoencoderOptions = {}) {
    const { precision = 'f32', memoryBudget = DEFAULT_MEMORY_BUDGET, tiling, rounding = 'dit' } = options;
    if (!(memoryBudget > 0)) throw new ArgumentError('Autoencoder: memoryBudget', 'a positive number of bytes', memoryBudget);
    this.config = config;
    this.precision = precision === 'auto' ? fasterPrecision() : precision;
    this.pass = { precision: this.precision };
    this.memoryBudget = memoryBudget;
    this.tiling = tiling;
    this.rounding = rounding;
    this.weights = {};
    for (const [name, weight] of Object.entries(weights)) {
      this.weights[name] = tf.keep(prepared(weight, this.precision));
      weight.dispose();
    }
  }

  /** Images of `[B, C, H, W]` in [-1, 1] as moments `[B, 2 latentChannels, h, w]`; sizes that do not fit are refused, see {@link pad}. */
  async encode(images: tf.Tensor): Promise<tf.Tensor> {
    return this.inBatches('encode', images, [2, 3], (tile) =>
      this.step('encode', (x) =>
        tf.transpose(encodeChannelsLast(this.weights, this.config, tf.transpose(x, [0, 2, 3, 1]), this.pass), [0, 3, 1, 2]),
      ).run(tile),
    );
  }

  /** Latents `[B, latentChannels, h, w]`, unscaled, as images `[B, C, H, W]`, about [-1, 1], not clipped. */
  async decode(latents: tf.Tensor): Promise<tf.Tensor> {
    return this.inBatches('decode', latents, [2, 3], (tile) =>
      this.step('decode', (z) => tf.transpose(decodeChannelsLast(this.weights, this.config, z, this.pass), [0, 3, 1, 2])).run(tile),
    );
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
      if (this.tiles(height, width)) {
        const images = tf.tidy(() => tf.transpose(imagesOfPixels(pixels), [0, 3, 1, 2]));
        return await this.encode(images).finally(() => images.dispose());
      }
      const step = this.step('encode-pixels', (x) =>
        tf.transpose(encodeChannelsLast(this.weights, this.config, imagesOfPixels(x), this.pass), [0, 3, 1, 2]),
      );
      return await this.slices('encode', pixels, height, width, (part) => step.run(part));
    } finally {
      pixels.dispose();
    }
  }

  /**
   * Pictures of latents in the units of a diffusion model.
   * @param latents `[B, latentChannels, h, w]`, scaled as by `scaleLatents`
   */
  async decodeToPixels(latents: tf.Tensor): Promise<Pixels> {
    const [count, , h, w] = latents.shape as [number, number, number, number];
    const [height, width] = [h * downscale(this.config), w * downscale(this.config)];
    let rounded: tf.Tensor;
    if (this.tiles(height, width)) {
      const unscaled = tf.tidy(() => unscaleLatents(latents, this.config));
      const images = await this.decode(unscaled).finally(() => unscaled.dispose());
      rounded = tf.tidy(() => pixelRoundings[this.rounding](tf.transpose(images, [0, 2, 3, 1])));
      images.dispose();
    } else {
      const step = this.step('decode-pixels', (z) =>
        pixelRoundings[this.rounding](decodeChannelsLast(this.weights, this.config, unscaleLatents(z, this.config), this.pass)),
      );
      rounded = await this.slices('decode', latents, height, width, (part) => step.run(part));
    }
    try {
      return { data: Uint8Array.from(await rounded.data()), count, height, width, channels: this.config.outChannels };
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

  private step(name: string, work: (x: tf.Tensor) => tf.Tensor): CompiledStep<tf.Tensor[], tf.Tensor> {
    let step = this.steps.get(name);
    if (step === undefined) this.steps.set(name, (step = compile((...[x]: tf.Tensor[]) => work(x!), { name: `autoencoder-${name}` })));
    return step;
  }

  private tiles(height: number, width: number): boolean {
    return this.tiling !== undefined && Math.max(height, width) > (this.tiling.tileSize ?? this.config.sampleSize);
  }

  private inBatches(
    part: 'encode' | 'decode',
    x: tf.Tensor,
    [rows, columns]: [number, number],
    work: (x: tf.Tensor) => Promise<tf.Tensor>,
  ): Promise<tf.Tensor> {
    const scale = part === 'encode' ? 1 : downscale(this.config);
    const [height, width] = [x.shape[rows]! * scale, x.shape[columns]! * scale];
    if (!this.tiles(height, width)) return this.slices(part, x, height, width, work);
    const tile = this.tiling!.tileSize ?? this.config.sampleSize;
    const one = (y: tf.Tensor): Promise<tf.Tensor> => this.slices(part, y, Math.min(tile, height), Math.min(tile, width), work);
    return part === 'encode' ? encodeTiled(this.config, x, one, this.tiling) : decodeTiled(this.config, x, one, this.tiling);
  }

  /** `work` on as many pictures at a time as the memory budget allows. */
  private async slices(
    part: 'encode' | 'decode',
    x: tf.Tensor,
    height: number,
    width: number,
    work: (x: tf.Tensor) => Promise<tf.Tensor>,
  ): Promise<tf.Tensor> {
    const count = x.shape[0]!;
    const most = batchSizeFor(this.config, { part, height, width, memoryBudget: this.memoryBudget });
    if (count <= most) return work(x);
    const parts: tf.Tensor[] = [];
    try {
      for (let from = 0; from < count; from += most) {
        const slice = tf.slice(x, [from, 0, 0, 0], [Math.min(most, count - from), ...(x.shape.slice(1) as [number, number, number])]);
        parts.push(await work(slice).finally(() => slice.dispose()));
      }
      return tf.concat(parts, 0);
    } finally {
      tf.dispose(parts);
    }
  }
}

/** A copy of a weight in the form that inference multiplies with. */
function prepared(weight: tf.Tensor, precision: Precision): tf.Tensor {
  const backend = tensorFlowBackend();
  if (precision === 'bf16' && backend !== undefined)
    return weight.rank === 1 ? tf.clone(weight) : backend.raw('Cast', [weight], { DstT: { type: DataType.bfloat16 } })[0]!;
  return weight.rank === 4 ? packFilter(weight) : tf.clone(weight);
}

/** Trials of each precision; the fastest counts. */
const TRIALS = 3;
let faster: Precision | undefined;

/** The precision in which this machine convolves faster, measured once. */
function fasterPrecision(): Precision {
  if (tensorFlowBackend() === undefined) return 'f32';
  return (faster ??= measureFasterPrecision());
}

function measureFasterPrecision(): Precision {
  const x = tf.zeros([1, 64, 64, 256]);
  const filter = tf.zeros([3, 3, 256, 256]);
  const packed = packFilter(filter);
  const seconds = (precision: Precision): number => {
    const step = compile(() => tf.max(conv2d(x, precision === 'f32' ? packed : filter, { precision })), { name: 'precision-trial' });
    const times = Array.from({ length: TRIALS + 1 }, () => {
      const start = performance.now();
      const result = step.runSync();
      result.dataSync();
      result.dispose();
      return performance.now() - start;
    });
    step.dispose();
    return Math.min(...times.slice(1));
  };
  const result = seconds('bf16') < seconds('f32') ? 'bf16' : 'f32';
  tf.dispose([x, filter, packed]);
  return result;
}
