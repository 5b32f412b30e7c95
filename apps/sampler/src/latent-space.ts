/** Opens an autoencoder for models of latents. */
import type { ModelCard } from '@dit-moe/dit';
import { downscale, posteriorOf, scaleLatents } from '@dit-moe/vae';
import { openAutoencoder } from '@dit-moe/vae/node';
import * as tf from '@tensorflow/tfjs-core';
import { ModelError } from './errors.js';
import { type ImageSpace, latentPreview } from './image-space.js';

/** Instead of an autoencoder: rough pictures in the size of the latents. */
export const NO_AUTOENCODER = 'none';

/**
 * The pictures of a model of latents.
 * @param name what `openAutoencoder` takes, or {@link NO_AUTOENCODER}
 * @throws ModelError if it cannot be opened or is not the one that the model was trained with
 */
export async function openLatentSpace(name: string, card: ModelCard): Promise<ImageSpace> {
  const { inChannels } = card.config;
  if (name === NO_AUTOENCODER) {
    if (inChannels !== LATENT_CHANNELS)
      throw new ModelError(`--vae none: only for latents of ${LATENT_CHANNELS} channels, these have ${inChannels}.`);
    const refuse = () => Promise.reject(new ModelError('Pictures cannot be encoded without an autoencoder: give --vae.'));
    return { scale: 1, channels: 3, decode: latentPreview, preview: latentPreview, encode: refuse, dispose: () => {} };
  }
  const opened = await openAutoencoder(name).catch((cause) => {
    throw new ModelError(
      `Cannot open the autoencoder ${name}: ${(cause as Error).message} Give a folder or file with --vae, or --vae none for rough pictures.`,
      { cause },
    );
  });
  const { autoencoder, config, encoderHash } = opened;
  const { latents } = card;
  const problem =
    config.latentChannels !== inChannels
      ? `its latents have ${config.latentChannels} channels, the model's ${inChannels}`
      : latents !== undefined && latents.vae !== encoderHash
        ? 'the model was trained with the latents of another encoder'
        : latents !== undefined && (latents.scalingFactor !== config.scalingFactor || latents.shiftFactor !== config.shiftFactor)
          ? `its latents are scaled by ${config.scalingFactor} and shifted by ${config.shiftFactor}, the model's by ${latents.scalingFactor} and ${latents.shiftFactor}`
          : undefined;
  if (problem !== undefined) {
    autoencoder.dispose();
    throw new ModelError(`The autoencoder ${name} does not fit the model: ${problem}.`);
  }
  return {
    scale: downscale(config),
    channels: config.outChannels,
    decode: (z) => autoencoder.decodeToPixels(z),
    // The colours are those of four channels.
    preview: inChannels === LATENT_CHANNELS ? latentPreview : (z) => autoencoder.decodeToPixels(z),
    async encode(images) {
      const moments = await autoencoder.encode(images);
      const latent = tf.tidy(() => scaleLatents(posteriorOf(moments).mean, config));
      moments.dispose();
      return latent;
    },
    dispose: () => autoencoder.dispose(),
  };
}

const LATENT_CHANNELS = 4;
