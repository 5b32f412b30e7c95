/** Opens a model in a browser: its weights are fetched as one file, with the decoder of its latents beside it. */
import { cardOf, type ModelCard, readModel, type Training } from '@dit-moe/dit';
import type { InferencePrecision } from '@dit-moe/tensor-ops';
import { fetchCheckpoint } from '@dit-moe/tensor-ops/io';
import { Autoencoder, type AutoencoderConfig, loadAutoencoder } from '@dit-moe/vae';
import { checkGuide, type DescribedModel, loadWithGuide } from './guide.js';
import { type ImageSpace, isOfPixels, latentSpace, pixelSpace, roughSpace } from './image-space.js';
import { Pipeline } from './pipeline.js';

/** What belongs to a model that is fetched, how it is computed, and how it was trained where its file does not say so. */
export interface FetchPipelineOptions extends Training {
  /** Of a model of latents: the file of its autoencoder's decoder, and what it is made of (default: rough pictures in the latents' size). */
  decoder?: { file: string; config: AutoencoderConfig };
  /** A weaker model to guide with, as `url`. */
  guideWith?: string | undefined;
  /** Of matrix products (default `f32`); `int8` is for the TensorFlow runtime, elsewhere a warning says so, and it is float32. */
  precision?: InferencePrecision;
  /** Hears in a sentence that it is computed in another precision than that of the file or the one asked for (default `console.warn`). */
  onWarning?: (message: string) => void;
}

/**
 * Fetches a model and brings it to the current backend. Classes without a name are called by their numbers.
 * @param url of a file such as `dit-moe-trainer export --to safetensors` or `--to reference` writes, or of one of others in these formats
 * @throws FormatError if it cannot be fetched or is damaged
 * @throws ArgumentError if it does not say what it is or how it was trained, and the options do not, either
 * @throws ModelMismatchError if the guide does not fit the model
 */
export async function fetchPipeline(url: string, options: FetchPipelineOptions = {}): Promise<Pipeline> {
  const { decoder, guideWith, precision = 'f32', onWarning, ...training } = options;
  const model = await fetchModel(url, training);
  const guide = guideWith === undefined ? undefined : await fetchModel(guideWith, training);
  if (guide !== undefined) checkGuide(model.card, guide.card, guideWith!);
  const space = await spaceOf(model.card, decoder);
  try {
    const [loaded, itsGuide] = await loadWithGuide(model, guide, precision, onWarning);
    return new Pipeline(loaded, space, itsGuide);
  } catch (error) {
    space.dispose();
    throw error;
  }
}

async function fetchModel(url: string, training: Training): Promise<DescribedModel> {
  const file = await readModel(await fetchCheckpoint(url));
  const { card } = cardOf(file, training);
  const classNames = Array.from({ length: Math.max(1, card.config.numClasses) }, (_, label) => card.classNames[label] ?? String(label));
  return { card: { ...card, classNames }, weights: file.weights };
}

async function spaceOf(card: ModelCard, decoder: FetchPipelineOptions['decoder']): Promise<ImageSpace> {
  if (decoder !== undefined) {
    const { weights } = await loadAutoencoder(await fetchCheckpoint(decoder.file), decoder.config, ['decoder']);
    return latentSpace(new Autoencoder(weights, decoder.config));
  }
  return isOfPixels(card) ? pixelSpace(card.config.inChannels) : roughSpace();
}
