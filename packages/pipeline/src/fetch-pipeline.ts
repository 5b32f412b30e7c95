/** Opens a model in a browser: its weights are fetched as one safetensors file of this project, with the decoder of its latents beside it. */
import { loadDit, type ModelCard, readModel } from '@dit-moe/dit';
import { ArgumentError, type Precision } from '@dit-moe/tensor-ops';
import { fetchCheckpoint } from '@dit-moe/tensor-ops/io';
import { Autoencoder, type AutoencoderConfig, loadAutoencoder } from '@dit-moe/vae';
import { type ImageSpace, isOfPixels, latentSpace, pixelSpace, roughSpace } from './image-space.js';
import { Pipeline } from './pipeline.js';

export interface FetchPipelineOptions {
  /** Of a model of latents: the file of its autoencoder's decoder, and what it is made of (default: rough pictures in the latents' size). */
  decoder?: { file: string; config: AutoencoderConfig };
  /** Of matrix products (default `f32`). */
  precision?: Precision;
}

/**
 * Fetches a model of this project and brings it to the current backend.
 * @param url of a `.safetensors` file such as `dit-moe-trainer export --to safetensors` writes
 * @throws FormatError if it cannot be fetched or is damaged
 * @throws ArgumentError if it does not say what it is
 */
export async function fetchPipeline(url: string, { decoder, precision = 'f32' }: FetchPipelineOptions = {}): Promise<Pipeline> {
  const { card, weights } = await readModel(await fetchCheckpoint(url));
  if (card === undefined) throw new ArgumentError(url, 'a model of this project, which says what it is', 'weights without a model card');
  const space = await spaceOf(card, decoder);
  try {
    return new Pipeline(await loadDit({ weights }, card, precision), space);
  } catch (error) {
    space.dispose();
    throw error;
  }
}

async function spaceOf(card: ModelCard, decoder: FetchPipelineOptions['decoder']): Promise<ImageSpace> {
  if (decoder !== undefined) {
    const { weights } = await loadAutoencoder(await fetchCheckpoint(decoder.file), decoder.config, ['decoder']);
    return latentSpace(new Autoencoder(weights, decoder.config));
  }
  return isOfPixels(card) ? pixelSpace(card.config.inChannels) : roughSpace();
}
