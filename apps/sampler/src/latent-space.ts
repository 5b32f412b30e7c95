/** Opens the autoencoder of a model of latents. */
import type { ModelCard } from '@dit-moe/dit';
import type { AutoencoderConfig } from '@dit-moe/vae';
import { type AutoencoderSource, openAutoencoder, readAutoencoder, saveWeights } from '@dit-moe/vae/node';
import * as tf from '@tensorflow/tfjs-core';
import { ModelError } from './errors.js';
import { type ImageSpace, latentSpace, roughSpace } from './image-space.js';

/** Instead of an autoencoder: rough pictures in the size of the latents. */
export const NO_AUTOENCODER = 'none';

/**
 * The pictures of a model of latents.
 * @param name what `openAutoencoder` takes, or {@link NO_AUTOENCODER}
 * @throws ModelError if it cannot be opened or is not the one that the model was trained with
 */
export async function openLatentSpace(name: string, card: ModelCard): Promise<ImageSpace> {
  if (name === NO_AUTOENCODER) return roughSpace(card.config.inChannels);
  const { autoencoder, ...source } = await openAutoencoder(name).catch(refuse(name));
  try {
    checkFit(name, source, card);
  } catch (problem) {
    autoencoder.dispose();
    throw problem;
  }
  return latentSpace(autoencoder);
}

/**
 * Writes the decoder of a model of latents as one file with current names.
 * @returns the autoencoder's configuration, and the bytes that were written
 * @throws ModelError as {@link openLatentSpace}
 */
export async function exportDecoder(name: string, card: ModelCard, file: string): Promise<{ config: AutoencoderConfig; bytes: number }> {
  const { weights, ...source } = await readAutoencoder(name).catch(refuse(name));
  try {
    checkFit(name, source, card);
    const { bytes } = await saveWeights(file, weights, source.config, ['decoder']);
    return { config: source.config, bytes };
  } finally {
    tf.dispose(weights);
  }
}

const refuse =
  (name: string) =>
  (cause: Error): never => {
    throw new ModelError(
      `Cannot open the autoencoder ${name}: ${cause.message} Give a folder or file with --vae, or --vae none for rough pictures.`,
      { cause },
    );
  };

function checkFit(name: string, { config, encoderHash }: AutoencoderSource, { config: { inChannels }, latents }: ModelCard): void {
  const problem =
    config.latentChannels !== inChannels
      ? `its latents have ${config.latentChannels} channels, the model's ${inChannels}`
      : latents !== undefined && latents.vae !== encoderHash
        ? 'the model was trained with the latents of another encoder'
        : latents !== undefined && (latents.scalingFactor !== config.scalingFactor || latents.shiftFactor !== config.shiftFactor)
          ? `its latents are scaled by ${config.scalingFactor} and shifted by ${config.shiftFactor}, the model's by ${latents.scalingFactor} and ${latents.shiftFactor}`
          : undefined;
  if (problem !== undefined) throw new ModelError(`The autoencoder ${name} does not fit the model: ${problem}.`);
}
