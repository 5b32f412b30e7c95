/**
 * AutoencoderKL, the autoencoder of Stable Diffusion (Rombach et al. 2022; behaviour of diffusers' class of that name), as two
 * pure functions of weights and input. Images and latents are channels-first at the edges as in the rest of the project, and
 * channels-last inside.
 */
import { roundMaps, ShapeError, silu, widen } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { type AutoencoderConfig, downscale, type PerChannel } from './config.js';
import { autoencoderLayers, type PassOptions } from './layers.js';
import type { AutoencoderWeights } from './weights.js';

export type { PassOptions, Trace } from './layers.js';

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
  checkImageSize(config, x.shape[1]!, x.shape[2]!);
  const { convolve, resnet, encoderEnd, trace } = autoencoderLayers(weights, config, options);
  let h = convolve('encoder.conv_in', options.rounded ? roundMaps(x) : x);
  for (const level of config.blockOutChannels.keys()) {
    const block = `encoder.down_blocks.${level}`;
    for (let layer = 0; layer < config.layersPerBlock; layer++) h = resnet(`${block}.resnets.${layer}`, h);
    if (level < config.blockOutChannels.length - 1) h = convolve(`${block}.downsamplers.0.conv`, h, 2);
    trace(block, h);
  }
  return widen(encoderEnd(h));
}

/**
 * Checks a size in pixels before images are encoded.
 * @throws ShapeError unless both sides are positive multiples of the downscale
 */
export function checkImageSize(config: AutoencoderConfig, height: number, width: number): void {
  const step = downscale(config);
  if (height % step !== 0 || width % step !== 0 || height === 0 || width === 0)
    throw new ShapeError(
      'encodeMoments: x',
      `height and width that are multiples of ${step} (padImages makes them so)`,
      `${height} x ${width}`,
    );
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
  const { convolve, enlarge, norm, resnet, decoderStart, trace } = autoencoderLayers(weights, config, options);
  const latents = tf.transpose(z, [0, 2, 3, 1]);
  let h = decoderStart(options.rounded ? roundMaps(latents) : latents);
  for (const level of config.blockOutChannels.keys()) {
    const block = `decoder.up_blocks.${level}`;
    for (let layer = 0; layer <= config.layersPerBlock; layer++) h = resnet(`${block}.resnets.${layer}`, h);
    if (level < config.blockOutChannels.length - 1) h = enlarge(`${block}.upsamplers.0.conv`, h);
    trace(block, h);
  }
  return widen(convolve('decoder.conv_out', silu(norm('decoder.conv_norm_out', h))));
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
      const missing = Math.ceil(x.shape[axis] / step) * step - x.shape[axis];
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
  tf.tidy(() => tf.mul(tf.sub(z, alongChannels(shiftFactor)), alongChannels(scalingFactor)));

/** The inverse of {@link scaleLatents}. */
export const unscaleLatents = (z: tf.Tensor, { scalingFactor, shiftFactor }: AutoencoderConfig): tf.Tensor =>
  tf.tidy(() => tf.add(tf.div(z, alongChannels(scalingFactor)), alongChannels(shiftFactor)));

/** A number, or one for each channel of `[B, C, h, w]`. */
const alongChannels = (value: PerChannel): number | tf.Tensor =>
  typeof value === 'number' ? value : tf.reshape(tf.tensor1d([...value]), [1, -1, 1, 1]);
