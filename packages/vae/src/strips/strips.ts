/**
 * Encoding and decoding of pictures whose feature maps are too large for memory, with the numbers of one piece.
 *
 * Layer after layer, every feature map is computed in strips of rows: convolutions see the rows around a strip, group norms the
 * statistics of all strips, and attention, where maps are smallest, all rows at once. Two maps of a residual block exist at a time,
 * the first of them shrinking as the third grows.
 */
import { compile, silu } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { checkImageSize } from '../autoencoder.js';
import type { AutoencoderConfig } from '../config.js';
import { type AutoencoderLayers, autoencoderLayers, NORM_EPSILON, type PassOptions, zerosAround } from '../layers.js';
import type { AutoencoderWeights } from '../weights.js';
import { groupMoments } from './group-moments.js';
import { RowStrips } from './row-strips.js';

/** Largest strip of the larger map of a layer, in bytes: enough to keep every core busy; a layer works on some eight copies. */
const STRIP_BYTES = 2 ** 23;

/** Height of the strips, and how they are computed. */
export interface StripOptions extends PassOptions {
  /** Largest strip of a feature map in bytes (default 8 MiB); at least one row. */
  stripBytes?: number;
}

/**
 * Moments of images, as `encodeMoments` gives them within 2e-5 of the largest.
 * @param x `[B, H, W, C]` in [-1, 1]; it is disposed of
 * @returns `[B, h, w, 2 latentChannels]`
 */
export async function encodeInStrips(
  weights: AutoencoderWeights,
  config: AutoencoderConfig,
  x: tf.Tensor,
  options: StripOptions = {},
): Promise<tf.Tensor> {
  const layers = autoencoderLayers(weights, config, options);
  const strips = new StripLayers(layers, config.normNumGroups, options.stripBytes);
  try {
    let h = strips.of(x);
    checkImageSize(config, h.height, h.width);
    h = await strips.convolve('encoder.conv_in', h);
    for (const level of config.blockOutChannels.keys()) {
      const block = `encoder.down_blocks.${level}`;
      for (let layer = 0; layer < config.layersPerBlock; layer++) h = await strips.resnet(`${block}.resnets.${layer}`, h);
      if (level < config.blockOutChannels.length - 1) h = await strips.convolve(`${block}.downsamplers.0.conv`, h, { stride: 2 });
    }
    return await strips.whole(layers.encoderEnd, h.joined());
  } finally {
    strips.dispose();
  }
}

/**
 * Images of latents, as `decodeLatents` gives them within 2e-5 of the largest value.
 * @param z `[B, latentChannels, h, w]`, unscaled
 * @returns `[B, H, W, C]`
 */
export async function decodeInStrips(
  weights: AutoencoderWeights,
  config: AutoencoderConfig,
  z: tf.Tensor,
  options: StripOptions = {},
): Promise<tf.Tensor> {
  const layers = autoencoderLayers(weights, config, options);
  const strips = new StripLayers(layers, config.normNumGroups, options.stripBytes);
  try {
    let h = strips.of(await strips.whole(layers.decoderStart, tf.transpose(z, [0, 2, 3, 1])));
    for (const level of config.blockOutChannels.keys()) {
      const block = `decoder.up_blocks.${level}`;
      for (let layer = 0; layer <= config.layersPerBlock; layer++) h = await strips.resnet(`${block}.resnets.${layer}`, h);
      if (level < config.blockOutChannels.length - 1) h = await strips.convolve(`${block}.upsamplers.0.conv`, h, { double: true });
    }
    const before = strips.normAndActivation('decoder.conv_norm_out', h);
    return (await strips.convolve('decoder.conv_out', h, { before })).joined();
  } finally {
    strips.dispose();
  }
}

interface StripConvolution {
  stride?: 1 | 2;
  /** Whether every pixel of the input counts four times, as before the convolutions that double the size. */
  double?: boolean;
  /** Applied to each strip of the input. */
  before?: (strip: tf.Tensor) => tf.Tensor;
  /** Applied to each strip of the output, whose first row is given. */
  after?: (strip: tf.Tensor, from: number) => tf.Tensor;
  /** Whether the input is needed afterwards (default: its strips are freed once they were seen). */
  keep?: boolean;
}

/** Layers of feature maps in strips. */
class StripLayers {
  /** Everything that was made, so that nothing is left where a layer fails. */
  private readonly maps: RowStrips[] = [];
  private readonly norms: tf.Tensor[] = [];

  constructor(
    private readonly layers: AutoencoderLayers,
    private readonly groups: number,
    private readonly stripBytes = STRIP_BYTES,
  ) {}

  /** A whole map as one strip, which is disposed of. */
  of(x: tf.Tensor): RowStrips {
    const strips = this.map(x.shape[0], x.shape[2]!, x.shape[3]!);
    strips.add(x);
    return strips;
  }

  /** Layers of the coarsest level, where maps are small, in one piece: compiled, so that their intermediate maps do not outlive their use. */
  async whole(layers: (x: tf.Tensor) => tf.Tensor, x: tf.Tensor): Promise<tf.Tensor> {
    const step = compile(layers, { name: 'autoencoder-coarsest-level' });
    try {
      return await step.run(x);
    } finally {
      step.dispose();
      x.dispose();
    }
  }

  dispose(): void {
    for (const map of this.maps) map.release();
    tf.dispose(this.norms);
  }

  private map(batch: number, width: number, channels: number): RowStrips {
    const strips = new RowStrips(batch, width, channels);
    this.maps.push(strips);
    return strips;
  }

  /** A residual block; `x` is freed. */
  async resnet(name: string, x: RowStrips): Promise<RowStrips> {
    const hidden = await this.convolve(`${name}.conv1`, x, { before: this.normAndActivation(`${name}.norm1`, x), keep: true });
    const after = (branch: tf.Tensor, from: number): tf.Tensor => {
      const to = from + branch.shape[1]!;
      const sum = tf.add(this.layers.shortcut(name, x.rows(from, to)), branch);
      x.release(to);
      return sum;
    };
    return this.convolve(`${name}.conv2`, hidden, { before: this.normAndActivation(`${name}.norm2`, hidden), after });
  }

  /** A convolution, one strip of its output at a time. */
  async convolve(name: string, x: RowStrips, options: StripConvolution = {}): Promise<RowStrips> {
    const { stride = 1, double = false, before, after, keep = false } = options;
    const outputs = this.layers.outputs(name);
    const scale = (double ? 2 : 1) / stride;
    const [above, below] = zerosAround[stride];
    const [height, width] = [scale * x.height, scale * x.width];
    const rowBytes = 4 * x.batch * width * Math.max(x.channels / scale ** 2, outputs);
    // Whole pairs of rows where the size doubles.
    const step = double ? 2 : 1;
    const rows = step * Math.max(1, Math.floor(this.stripBytes / rowBytes / step));
    const result = this.map(x.batch, width, outputs);
    for (let from = 0; from < height; from += rows) {
      const to = Math.min(height, from + rows);
      // Rows that the filter meets, and those of them that exist.
      const [first, last] = [from / scale - above, to / scale + below];
      const [begin, end] = [Math.max(0, first), Math.min(x.height, last)];
      const strip = tf.tidy(() => {
        let y = x.rows(begin, end);
        if (before !== undefined) y = before(y);
        const zeros = [begin - first, last - end] as const;
        y = double ? this.layers.enlarge(name, y, zeros) : this.layers.convolve(name, y, stride, zeros);
        return after === undefined ? y : after(y, from);
      });
      result.add(strip);
      // The last rows that the filter met may be the first of the next strip.
      if (!keep) x.release(to / scale - above);
      // Signals and other work have their turn.
      await tf.nextFrame();
    }
    if (!keep) x.release();
    return result;
  }

  /** A group norm with the statistics of all strips, then SiLU. */
  normAndActivation(name: string, x: RowStrips): (strip: tf.Tensor) => tf.Tensor {
    const { scale, bias } = this.layers.affine(name);
    const [factor, shift] = tf.tidy(() => {
      const { mean, variance } = groupMoments([...x], this.groups); // [B, 1, 1, C]
      const product = tf.mul(tf.rsqrt(tf.add(variance, NORM_EPSILON)), scale);
      return [product, tf.sub(bias, tf.mul(mean, product))] as [tf.Tensor, tf.Tensor];
    });
    this.norms.push(factor, shift);
    return (strip) => silu(tf.add(tf.mul(strip, factor), shift));
  }
}
