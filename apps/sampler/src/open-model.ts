/** Opens a trained model: our own runs, published checkpoints of DiT and DiT-MoE, folders of diffusers, the Hugging Face hub. */
import { cardOf, type ModelCard, type ModelFile, nullLabelOf, type Training } from '@dit-moe/dit';
import { openModel as openModelFile } from '@dit-moe/dit/node';
import type { Precision } from '@dit-moe/tensor-ops';
import { ModelError, UsageError } from './errors.js';
import { isOfPixels, pixelSpace } from './image-space.js';
import { openLatentSpace } from './latent-space.js';
import { type OpenModel, prepareModel } from './model.js';

/** A model whose file does not say how it was trained needs that besides. */
export interface OpenOptions extends Training {
  /** Which weights of a run (default `ema`, the averaged ones). */
  weights?: string;
  precision?: Precision;
  /** Autoencoder for models of latents: a name, a folder, a file, or `none` (default: what the paper used). */
  vae?: string;
  /** Height and width of the pictures in pixels (default: what the model was trained for). */
  size?: readonly [number, number];
}

/** The paper's (footnote 2). */
export const DEFAULT_VAE = 'sd-vae-ft-ema';

/** A model on the disk with its description. */
export type DescribedModel = ModelFile & { card: ModelCard };

/**
 * Opens a file of weights without bringing them to a device.
 * @param location see `openModel` of `@dit-moe/dit/node`
 * @throws ModelError if it is no model
 * @throws UsageError if it does not say how it was trained and the caller does not, either
 */
export async function openWeights(
  location: string,
  options: Pick<OpenOptions, 'weights' | 'objective' | 'timeScale'> = {},
): Promise<DescribedModel> {
  const { weights, objective, timeScale } = options;
  const file = await openModelFile(location, weights === undefined ? {} : { weights }).catch((cause) => {
    throw new ModelError(`Cannot open the model: ${(cause as Error).message}`, { cause });
  });
  try {
    const card = cardOf(file, { objective, timeScale });
    return { ...file, card: { ...card, classNames: allNames(card.classNames, card.config.numClasses) } };
  } catch (error) {
    await file.close();
    throw new UsageError(
      `${(error as Error).message} --objective and --time-scale tell how a model was trained whose file does not say it.`,
    );
  }
}

/** Names for all classes: numbers where there are none. */
const allNames = (names: readonly string[], numClasses: number): string[] =>
  Array.from({ length: Math.max(1, numClasses) }, (_, label) => names[label] ?? String(label));

/**
 * Opens a model.
 * @throws ModelError if weights are missing or of another shape, or the autoencoder does not fit
 * @throws UsageError if the size does not fit the model's patches
 */
export async function openModel(location: string, options: OpenOptions = {}): Promise<OpenModel> {
  const file = await openWeights(location, options);
  try {
    return await prepareOpened(file, options);
  } finally {
    await file.close();
  }
}

/** Brings an open model to the device. */
export async function prepareOpened(file: DescribedModel, { precision = 'f32', vae = DEFAULT_VAE, size }: OpenOptions): Promise<OpenModel> {
  const { card } = file;
  const space = isOfPixels(card) ? pixelSpace(card.config.inChannels) : await openLatentSpace(vae, card);
  try {
    const config = size === undefined ? card.config : resized(card, size, space.scale);
    return await prepareModel({ ...card, config }, space, file, precision);
  } catch (cause) {
    space.dispose();
    if (cause instanceof UsageError) throw cause;
    throw new ModelError(`Cannot read the model: ${(cause as Error).message}`, { cause });
  }
}

/** Other sizes than the trained one get interpolated positions. */
function resized({ config }: ModelCard, size: readonly [number, number], scale: number): ModelCard['config'] {
  const step = scale * config.patchSize;
  if (size.some((edge) => edge % step !== 0))
    throw new UsageError(`--size: expected multiples of ${step} for this model, found ${size.join('x')}.`);
  const positionGrid = config.positionGrid ?? ([config.inputSize[0] / config.patchSize, config.inputSize[1] / config.patchSize] as const);
  return { ...config, inputSize: [size[0] / scale, size[1] / scale], positionGrid };
}

/**
 * Checks that a model can be guided as asked.
 * @throws UsageError if it has no label for "no class"
 */
export function checkGuidance(card: ModelCard, guidance: number): void {
  if (guidance !== 1 && nullLabelOf(card.config) === undefined)
    throw new UsageError(
      `--guidance ${guidance}: this model was trained without a label for "no class", so it cannot be guided: give --guidance 1.`,
    );
}
