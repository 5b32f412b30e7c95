/** Opens the pictures' space of a model: pixels, or the autoencoder of its latents. */
import fs from 'node:fs';
import path from 'node:path';
import type { ModelCard } from '@dit-moe/dit';
import { Autoencoder, type AutoencoderConfig } from '@dit-moe/vae';
import { readAutoencoder, saveWeights } from '@dit-moe/vae/node';
import * as tf from '@tensorflow/tfjs-core';
import { autoencoderOf, checkAutoencoder } from '../autoencoder.js';
import { type ImageSpace, isOfPixels, latentSpace, pixelSpace, roughSpace } from '../image-space.js';

/** Instead of an autoencoder: rough pictures in the size of the latents. */
export const NO_AUTOENCODER = 'none';

/** What an autoencoder is remembered by: its name, or the whole path of a file or folder. */
export const placeOf = (autoencoder: string): string => (fs.existsSync(autoencoder) ? path.resolve(autoencoder) : autoencoder);

/**
 * The pictures of a model.
 * @param autoencoder of a model of latents: what `openAutoencoder` takes, or {@link NO_AUTOENCODER} (default: the one that belongs to the
 *   model, see `autoencoderOf`)
 * @param options `encoder`: false leaves the encoder out of memory, so that pictures can only be made (default true)
 * @throws HubError, FormatError, AutoencoderWeightsError if it cannot be opened
 * @throws AutoencoderMismatchError if it is not the one that the model was trained with
 */
export async function openSpace(
  card: ModelCard,
  autoencoder: string = autoencoderOf(card),
  { encoder = true }: { encoder?: boolean } = {},
): Promise<ImageSpace> {
  if (isOfPixels(card)) return pixelSpace(card.config.inChannels);
  if (autoencoder === NO_AUTOENCODER) return roughSpace();
  const { weights, ...source } = await readAutoencoder(autoencoder);
  try {
    checkAutoencoder(autoencoder, source, card);
  } catch (problem) {
    tf.dispose(weights);
    throw problem;
  }
  if (encoder) return latentSpace(new Autoencoder(weights, source.config));
  const isEncoders = ([name]: [string, tf.Tensor]): boolean => /^(encoder|quant_conv)\./.test(name);
  const all = Object.entries(weights);
  tf.dispose(all.filter(isEncoders).map(([, weight]) => weight));
  return latentSpace(new Autoencoder(Object.fromEntries(all.filter((entry) => !isEncoders(entry))), source.config));
}

/**
 * Writes the decoder of a model of latents as one file with current names, for `fetchPipeline`.
 * @returns the autoencoder's configuration, and the bytes that were written
 * @throws as {@link openSpace}
 */
export async function writeDecoder(
  file: string,
  card: ModelCard,
  autoencoder: string = autoencoderOf(card),
): Promise<{ config: AutoencoderConfig; bytes: number }> {
  const { weights, ...source } = await readAutoencoder(autoencoder);
  try {
    checkAutoencoder(autoencoder, source, card);
    const { bytes } = await saveWeights(file, weights, source.config, ['decoder']);
    return { config: source.config, bytes };
  } finally {
    tf.dispose(weights);
  }
}
