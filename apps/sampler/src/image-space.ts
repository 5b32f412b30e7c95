/** What a model's samples are: pictures, or latents that an autoencoder turns into pictures. */
import { type Pixels, toPixels } from '@dit-moe/data';
import type { ModelCard } from '@dit-moe/dit';
import { type Autoencoder, downscale, posteriorOf, scaleLatents } from '@dit-moe/vae';
import * as tf from '@tensorflow/tfjs-core';
import { ModelError } from './errors.js';

/** Between a model's samples `[B, C, h, w]` and pictures. */
export interface ImageSpace {
  /** Edge of a picture in pixels per edge of a sample. */
  scale: number;
  /** Channels of the pictures. */
  channels: number;
  decode(x: tf.Tensor): Promise<Pixels>;
  /** A quick picture of unfinished samples; of latents a rough one in their own size. */
  preview(x: tf.Tensor): Promise<Pixels>;
  /** Samples of pictures `[B, C, H, W]` in [-1, 1]. */
  encode(images: tf.Tensor): Promise<tf.Tensor>;
  dispose(): void;
}

/** Whether a model's samples are the pictures themselves. */
export const isOfPixels = ({ latents, config }: ModelCard): boolean =>
  latents === undefined && (config.inChannels === 1 || config.inChannels === 3);

/** Samples that are the pictures themselves, in [-1, 1]. */
export function pixelSpace(channels: number): ImageSpace {
  return { scale: 1, channels, decode: toPixels, preview: toPixels, encode: async (images) => tf.clone(images), dispose: () => {} };
}

/** Latents that an autoencoder turns into pictures; it is disposed of with the space. */
export function latentSpace(autoencoder: Autoencoder): ImageSpace {
  const { config } = autoencoder;
  return {
    scale: downscale(config),
    channels: config.outChannels,
    decode: (z) => autoencoder.decodeToPixels(z),
    // The colours are those of four channels.
    preview: config.latentChannels === LATENT_COLOURS.length ? latentPreview : (z) => autoencoder.decodeToPixels(z),
    async encode(images) {
      const moments = await autoencoder.encode(images);
      const latent = tf.tidy(() => scaleLatents(posteriorOf(moments).mean, config));
      moments.dispose();
      return latent;
    },
    dispose: () => autoencoder.dispose(),
  };
}

/**
 * Latents without an autoencoder: rough pictures in their own size.
 * @throws ModelError if they do not have the four channels whose colours are known
 */
export function roughSpace(channels: number): ImageSpace {
  if (channels !== LATENT_COLOURS.length)
    throw new ModelError(`--vae none: only for latents of ${LATENT_COLOURS.length} channels, these have ${channels}.`);
  const refuse = () => Promise.reject(new ModelError('Pictures cannot be encoded without an autoencoder: give --vae.'));
  return { scale: 1, channels: 3, decode: latentPreview, preview: latentPreview, encode: refuse, dispose: () => {} };
}

/** Colours in [-1, 1] of the four scaled latent channels of Stable Diffusion's autoencoder, approximately; ComfyUI's previews use them. */
const LATENT_COLOURS = [
  [0.3512, 0.2297, 0.3227],
  [0.325, 0.4974, 0.235],
  [-0.2829, 0.1762, 0.2721],
  [-0.212, -0.2616, -0.7177],
];

/** A rough picture of latents `[B, 4, h, w]`, a pixel for each latent. */
export async function latentPreview(z: tf.Tensor): Promise<Pixels> {
  const picture = tf.tidy(() => {
    const [batch, channels, height, width] = z.shape as [number, number, number, number];
    const flat = tf.reshape(tf.transpose(z, [0, 2, 3, 1]), [-1, channels]);
    const rgb = tf.matMul(flat as tf.Tensor2D, tf.tensor2d(LATENT_COLOURS));
    return tf.transpose(tf.reshape(rgb, [batch, height, width, 3]), [0, 3, 1, 2]);
  });
  return toPixels(picture).finally(() => picture.dispose());
}
