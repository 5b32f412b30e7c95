/** From what a model makes to pictures: pixels as they are, latents through their autoencoder or, without it, in false colours. */
import { type Pixels, toPixels } from '@dit-moe/data';
import type { ModelCard } from '@dit-moe/dit';
import { unscaleLatents } from '@dit-moe/vae';
import { openAutoencoder } from '@dit-moe/vae/node';
import * as tf from '@tensorflow/tfjs-core';
import { DataError } from '../errors.js';

export interface Decoder {
  /** @param x `[B, C, H, W]`; not disposed */
  decode(x: tf.Tensor): Promise<Pixels>;
  /** Whether the pictures are what the images looked like, so that they can be compared with real ones. */
  readonly faithful: boolean;
  dispose(): void;
}

/**
 * The decoder for a model's samples.
 * @param vae name, folder or file of the autoencoder, as `encode` takes it
 * @throws DataError if the autoencoder cannot be read or has other latents
 */
export async function openDecoder(card: ModelCard, vae: string | undefined): Promise<Decoder> {
  const { latents } = card;
  if (latents === undefined) return { decode: toPixels, faithful: true, dispose() {} };
  if (vae === undefined) return { decode: falseColours, faithful: false, dispose() {} };
  const { autoencoder } = await openAutoencoder(vae, { parts: ['decoder'] }).catch((cause: Error) => {
    throw new DataError(`Cannot open the autoencoder ${vae} (sampling.vae): ${cause.message}`, { cause });
  });
  const { latentChannels } = autoencoder.config;
  if (latentChannels !== card.config.inChannels) {
    autoencoder.dispose();
    throw new DataError(
      `The latents of the autoencoder ${vae} (sampling.vae) have ${latentChannels} channels, the model's ${card.config.inChannels}.`,
    );
  }
  // The scale is that of the cache, which the model has learnt.
  const space = { ...autoencoder.config, scalingFactor: latents.scalingFactor, shiftFactor: latents.shiftFactor };
  return {
    faithful: true,
    async decode(x) {
      const z = tf.tidy(() => unscaleLatents(x, space));
      const images = await autoencoder.decode(z).finally(() => z.dispose());
      return toPixels(images).finally(() => images.dispose());
    },
    dispose: () => autoencoder.dispose(),
  };
}

/** The first three channels (or the first) as colours, two standard deviations to each side. */
async function falseColours(x: tf.Tensor): Promise<Pixels> {
  const shown = tf.tidy(() => tf.div(tf.slice(x, [0, 0, 0, 0], [-1, x.shape[1]! >= 3 ? 3 : 1, -1, -1]), 2));
  return toPixels(shown).finally(() => shown.dispose());
}
