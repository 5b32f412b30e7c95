/** What a model's samples are: pictures, or latents that an autoencoder turns into pictures. */
import { type Pixels, toPixels } from '@dit-moe/data';
import type { ModelCard } from '@dit-moe/dit';
import { DitMoeError } from '@dit-moe/tensor-ops';
import { type Autoencoder, downscale, posteriorOf, scaleLatents } from '@dit-moe/vae';
import * as tf from '@tensorflow/tfjs-core';

/** Between a model's samples `[B, C, h, w]` and pictures. */
export interface ImageSpace {
  /** Edge of a picture in pixels per edge of a sample. */
  scale: number;
  /** Channels of the pictures. */
  channels: number;
  /** Whether the pictures are what the images looked like, so that they can be compared with real ones. */
  faithful: boolean;
  decode(x: tf.Tensor): Promise<Pixels>;
  /** A quick picture of unfinished samples; of latents a rough one in their own size. */
  preview(x: tf.Tensor): Promise<Pixels>;
  /** Samples of pictures `[B, C, H, W]` in [-1, 1]. */
  encode(images: tf.Tensor): Promise<tf.Tensor>;
  dispose(): void;
}

/** Pictures are asked for that only the autoencoder of a model of latents could encode. */
export class NoAutoencoderError extends DitMoeError {
  static override readonly code = 'E_NO_AUTOENCODER';
  constructor() {
    super('Pictures cannot be encoded without the autoencoder of the latents.', { hint: 'Give it when the model is opened.' });
  }
}

/** Whether a model's samples are the pictures themselves. */
export const isOfPixels = ({ latents, config }: ModelCard): boolean =>
  latents === undefined && (config.inChannels === 1 || config.inChannels === 3);

/** Samples that are the pictures themselves, in [-1, 1]. */
export function pixelSpace(channels: number): ImageSpace {
  return {
    ...{ scale: 1, channels, faithful: true, decode: toPixels, preview: toPixels },
    encode: async (images) => tf.clone(images),
    dispose: () => {},
  };
}

/** Latents that an autoencoder turns into pictures; it is disposed of with the space. */
export function latentSpace(autoencoder: Autoencoder): ImageSpace {
  const { config } = autoencoder;
  return {
    scale: downscale(config),
    channels: config.outChannels,
    faithful: true,
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

/** Latents without an autoencoder: rough pictures in their own size. */
export function roughSpace(): ImageSpace {
  const encode = () => Promise.reject(new NoAutoencoderError());
  return { scale: 1, channels: 3, faithful: false, decode: latentPreview, preview: latentPreview, encode, dispose: () => {} };
}

/** Colours in [-1, 1] of the four scaled latent channels of Stable Diffusion's autoencoder, approximately; ComfyUI's previews use them. */
const LATENT_COLOURS = [
  [0.3512, 0.2297, 0.3227],
  [0.325, 0.4974, 0.235],
  [-0.2829, 0.1762, 0.2721],
  [-0.212, -0.2616, -0.7177],
];

/** A rough picture of latents `[B, C, h, w]`, a pixel for each: four channels as Stable Diffusion's, others by their first ones. */
async function latentPreview(z: tf.Tensor): Promise<Pixels> {
  const picture = tf.tidy(() => {
    const [batch, channels, height, width] = z.shape as [number, number, number, number];
    // Two standard deviations to each side.
    if (channels !== LATENT_COLOURS.length)
      return tf.tile(tf.div(tf.slice(z, [0, 0, 0, 0], [-1, channels >= 3 ? 3 : 1, -1, -1]), 2), [1, channels >= 3 ? 1 : 3, 1, 1]);
    const flat = tf.reshape(tf.transpose(z, [0, 2, 3, 1]), [-1, channels]);
    const rgb = tf.matMul(flat as tf.Tensor2D, tf.tensor2d(LATENT_COLOURS));
    return tf.transpose(tf.reshape(rgb, [batch, height, width, 3]), [0, 3, 1, 2]);
  });
  return toPixels(picture).finally(() => picture.dispose());
}
