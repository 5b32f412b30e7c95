/** Opens a model in a browser: its weights are fetched as one safetensors file of this project, with the decoder of its latents beside it. */
import { type ModelCard, readModel } from '@dit-moe/dit';
import { ArgumentError, type InferencePrecision } from '@dit-moe/tensor-ops';
import { fetchCheckpoint } from '@dit-moe/tensor-ops/io';
import { Autoencoder, type AutoencoderConfig, loadAutoencoder } from '@dit-moe/vae';
import { checkGuide, type DescribedModel, loadWithGuide } from './guide.js';
import { type ImageSpace, isOfPixels, latentSpace, pixelSpace, roughSpace } from './image-space.js';
import { Pipeline } from './pipeline.js';

/** What belongs to a model that is fetched, and how it is computed. */
export interface FetchPipelineOptions {
  /** Of a model of latents: the file of its autoencoder's decoder, and what it is made of (default: rough pictures in the latents' size). */
  decoder?: { file: string; config: AutoencoderConfig };
  /** A weaker model to guide with, as `url`. */
  guideWith?: string | undefined;
  /** Of matrix products (default `f32`); `int8` is for the TensorFlow runtime, elsewhere a warning says so, and it is float32. */
  precision?: InferencePrecision;
}

/**
 * Fetches a model of this project and brings it to the current backend.
 * @param url of a `.safetensors` file such as `dit-moe-trainer export --to safetensors` writes
 * @throws FormatError if it cannot be fetched or is damaged
 * @throws ArgumentError if it does not say what it is
 * @throws ModelMismatchError if the guide does not fit the model
 */
export async function fetchPipeline(url: string, { decoder, guideWith, precision = 'f32' }: FetchPipelineOptions = {}): Promise<Pipeline> {
  const model = await fetchModel(url);
  const guide = guideWith === undefined ? undefined : await fetchModel(guideWith);
  if (guide !== undefined) checkGuide(model.card, guide.card, guideWith!);
  const space = await spaceOf(model.card, decoder);
  try {
    const [loaded, itsGuide] = await loadWithGuide(model, guide, precision);
    return new Pipeline(loaded, space, itsGuide);
  } catch (error) {
    space.dispose();
    throw error;
  }
}

async function fetchModel(url: string): Promise<DescribedModel> {
  const { card, weights } = await readModel(await fetchCheckpoint(url));
  if (card === undefined) throw new ArgumentError(url, 'a model of this project, which says what it is', 'weights without a model card');
  return { card, weights };
}

async function spaceOf(card: ModelCard, decoder: FetchPipelineOptions['decoder']): Promise<ImageSpace> {
  if (decoder !== undefined) {
    const { weights } = await loadAutoencoder(await fetchCheckpoint(decoder.file), decoder.config, ['decoder']);
    return latentSpace(new Autoencoder(weights, decoder.config));
  }
  return isOfPixels(card) ? pixelSpace(card.config.inChannels) : roughSpace();
}
