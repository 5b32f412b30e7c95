/**
 * AutoencoderKL, the autoencoder of Stable Diffusion (Rombach et al. 2022; behaviour of diffusers' class of that name), as two
 * pure functions of weights and input. Images and latents are channels-first at the edges as in the rest of the project, and
 * channels-last inside.
 */
import { attention, conv2d, groupNorm, linear, type Precision, resizeImages, ShapeError, silu } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { type AutoencoderConfig, downscale } from './config.js';
import type { AutoencoderWeights } from './weights.js';

/** Receives the output of every module, channels-last, under its name in the weights. */
export type Trace = (module: string, value: tf.Tensor) => void;

export interface PassOptions {
  /** Of convolutions and linear maps (default `f32`); group norms and the softmax are float32 always. */
  precision?: Precision;
  trace?: Trace;
}

/**
 * Moments of the posterior of latents given images.
 *
 * @param x images `[B, C, H, W]` in [-1, 1]; H and W are multiples of the downscale, see `padImages`
 * @returns mean and log variance `[B, 2 latentChannels, h, w]`
 * @throws ShapeError if channels or sizes do not fit
 */
export function encodeMoments(weights: AutoencoderWeights, config: AutoencoderConfig, x: tf.Tensor, options: PassOptions = {}): tf.Tensor {
  if (x.rank !== 4 || x.shape[1] !== config.inChannels)
    throw new ShapeError('encodeMoments: x', `[B, ${config.inChannels}, H, W]`, x.shape);
  return tf.transpose(encodeChannelsLast(weights, config, tf.transpose(x, [0, 2, 3, 1]), options), [0, 3, 1, 2]);
}

/** {@link encodeMoments} of images `[B, H, W, C]`, giving `[B, h, w, 2 latentChannels]`. */
export function encodeChannelsLast(
  weights: AutoencoderWeights,
  config: AutoencoderConfig,
  x: tf.Tensor,
  options: PassOptions = {},
): tf.Tensor {
  const step = downscale(config);
  const [, height, width] = x.shape as [number, number, number, number];
  if (height % step !== 0 || width % step !== 0 || height === 0 || width === 0)
    throw new ShapeError(
      'encodeMoments: x',
      `height and width that are multiples of ${step} (padImages makes them so)`,
      `${height} x ${width}`,
    );
  const { convolve, norm, resnet, middle, trace } = modules(weights, config, options);
  let h = convolve('encoder.conv_in', x);
  for (const level of config.blockOutChannels.keys()) {
    const block = `encoder.down_blocks.${level}`;
    for (let layer = 0; layer < config.layersPerBlock; layer++) h = resnet(`${block}.resnets.${layer}`, h);
    if (level < config.blockOutChannels.length - 1) h = convolve(`${block}.downsamplers.0.conv`, h, 2);
    trace(block, h);
  }
  h = middle('encoder.mid_block', h);
  h = convolve('encoder.conv_out', silu(norm('encoder.conv_norm_out', h)));
  return config.useQuantConv ? convolve('quant_conv', h) : h;
}

/**
 * Images of latents.
 *
 * @param z `[B, latentChannels, h, w]`, unscaled; see `unscaleLatents`
 * @returns `[B, C, H, W]`, about [-1, 1], not clipped
 * @throws ShapeError if the channels differ
 */
export function decodeLatents(weights: AutoencoderWeights, config: AutoencoderConfig, z: tf.Tensor, options: PassOptions = {}): tf.Tensor {
  return tf.transpose(decodeChannelsLast(weights, config, z, options), [0, 3, 1, 2]);
}

/** {@link decodeLatents} giving `[B, H, W, C]`. */
export function decodeChannelsLast(
  weights: AutoencoderWeights,
  config: AutoencoderConfig,
  z: tf.Tensor,
  options: PassOptions = {},
): tf.Tensor {
  if (z.rank !== 4 || z.shape[1] !== config.latentChannels)
    throw new ShapeError('decodeLatents: z', `[B, ${config.latentChannels}, h, w]`, z.shape);
  const { convolve, norm, resnet, middle, trace } = modules(weights, config, options);
  let h = tf.transpose(z, [0, 2, 3, 1]);
  if (config.usePostQuantConv) h = convolve('post_quant_conv', h);
  h = middle('decoder.mid_block', convolve('decoder.conv_in', h));
  for (const level of config.blockOutChannels.keys()) {
    const block = `decoder.up_blocks.${level}`;
    for (let layer = 0; layer <= config.layersPerBlock; layer++) h = resnet(`${block}.resnets.${layer}`, h);
    if (level < config.blockOutChannels.length - 1) h = convolve(`${block}.upsamplers.0.conv`, doubled(h));
    trace(block, h);
  }
  return convolve('decoder.conv_out', silu(norm('decoder.conv_norm_out', h)));
}

/**
 * Images enlarged to the next sizes that the autoencoder takes, below and to the right, by repeating the last row and column.
 * @param x `[B, C, H, W]`
 */
export function padImages(x: tf.Tensor, config: AutoencoderConfig): tf.Tensor {
  const step = downscale(config);
  return tf.tidy(() => {
    let padded = x.clone();
    for (const axis of [2, 3]) {
      const missing = Math.ceil(x.shape[axis]! / step) * step - x.shape[axis]!;
      if (missing === 0) continue;
      const begin = padded.shape.map((n, i) => (i === axis ? n - 1 : 0));
      const last = tf.slice(
        padded,
        begin,
        padded.shape.map((n, i) => (i === axis ? 1 : n)),
      );
      padded = tf.concat(
        [
          padded,
          tf.tile(
            last,
            padded.shape.map((_, i) => (i === axis ? missing : 1)),
          ),
        ],
        axis,
      );
    }
    return padded;
  });
}

/** Latents in the units that a diffusion model is trained in: `(z - shift) * scale`. */
export const scaleLatents = (z: tf.Tensor, { scalingFactor, shiftFactor }: AutoencoderConfig): tf.Tensor =>
  tf.mul(tf.sub(z, shiftFactor), scalingFactor);

/** The inverse of {@link scaleLatents}. */
export const unscaleLatents = (z: tf.Tensor, { scalingFactor, shiftFactor }: AutoencoderConfig): tf.Tensor =>
  tf.add(tf.div(z, scalingFactor), shiftFactor);

/** Every pixel four times. */
function doubled(x: tf.Tensor): tf.Tensor {
  return resizeImages(x, [2 * x.shape[1]!, 2 * x.shape[2]!], { method: 'nearest' });
}

/** Largest number of attention scores that exist at once; 16 MiB, so that they stay in the caches. */
const MAX_SCORES = 2 ** 22;

function modules(weights: AutoencoderWeights, config: AutoencoderConfig, { precision, trace = () => {} }: PassOptions) {
  const traced = (name: string, value: tf.Tensor): tf.Tensor => {
    trace(name, value);
    return value;
  };
  const convolve = (name: string, x: tf.Tensor, stride = 1): tf.Tensor => {
    const [filter, bias] = [weights[`${name}.weight`]!, weights[`${name}.bias`]!];
    const [size, , inputs, outputs] = filter.shape.slice(-4) as [number, number, number, number];
    if (size === 1) return traced(name, linear(x, tf.reshape(filter, [inputs, outputs]), bias, { precision }));
    // The reference pads below and to the right only when it halves the size.
    const side = stride === 1 ? ([1, 1] as const) : ([0, 1] as const);
    return traced(name, conv2d(x, filter, { stride, padding: [side, side], bias, precision }));
  };
  const norm = (name: string, x: tf.Tensor): tf.Tensor =>
    traced(name, groupNorm(x, config.normNumGroups, { scale: weights[`${name}.weight`]!, bias: weights[`${name}.bias`]! }));
  const resnet = (name: string, x: tf.Tensor): tf.Tensor => {
    const hidden = convolve(`${name}.conv1`, silu(norm(`${name}.norm1`, x)));
    const branch = convolve(`${name}.conv2`, silu(norm(`${name}.norm2`, hidden)));
    return traced(name, tf.add(`${name}.conv_shortcut.weight` in weights ? convolve(`${name}.conv_shortcut`, x) : x, branch));
  };
  /** Attention between all positions, one head. */
  const attend = (name: string, x: tf.Tensor): tf.Tensor => {
    const [batch, height, width, channels] = x.shape as [number, number, number, number];
    const tokens = tf.reshape(norm(`${name}.group_norm`, x), [batch, 1, height * width, channels]);
    const map = (part: string, y: tf.Tensor): tf.Tensor =>
      linear(y, weights[`${name}.${part}.weight`]!, weights[`${name}.${part}.bias`]!, { precision });
    const queriesPerChunk = Math.max(1, Math.floor(MAX_SCORES / (batch * height * width)));
    const mixed = attention(map('to_q', tokens), map('to_k', tokens), map('to_v', tokens), { precision, queriesPerChunk });
    return traced(name, tf.add(x, tf.reshape(map('to_out.0', mixed), x.shape)));
  };
  const middle = (name: string, x: tf.Tensor): tf.Tensor =>
    traced(name, resnet(`${name}.resnets.1`, attend(`${name}.attentions.0`, resnet(`${name}.resnets.0`, x))));
  return { convolve, norm, resnet, middle, trace };
}
