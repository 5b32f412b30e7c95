/** Opens a trained model: our own runs, published checkpoints of DiT and DiT-MoE, folders of diffusers, the Hugging Face hub. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { imagenetClasses, imagenetNames } from '@dit-moe/data';
import { cardOf, type ModelCard, type ModelFile, type Training, withInputSize } from '@dit-moe/dit';
import { type OpenModelOptions, openModel, threadsFor } from '@dit-moe/dit/node';
import { ArgumentError, type InferencePrecision } from '@dit-moe/tensor-ops';
import { hasVnni, startBackend } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs-core';
import { checkGuide, loadWithGuide } from '../guide.js';
import { isOfPixels } from '../image-space.js';
import { Pipeline } from '../pipeline.js';
import { openSpace } from './open-space.js';

/** How to open a model; one whose file does not say how it was trained needs that besides. */
export interface OpenPipelineOptions extends OpenModelOptions, Training {
  /**
   * Of matrix products (default `f32`). `bf16` keeps the matrices as bfloat16, half the memory; `int8` the large ones as integers, 0.3 of it
   * with many experts to a half, on CPUs with VNNI: elsewhere `onWarning` hears why not, and the model is loaded in float32.
   */
  precision?: InferencePrecision;
  /** Autoencoder for models of latents: a name, a folder, a file, or `none` for rough pictures (default: the one that belongs to the model). */
  vae?: string;
  /**
   * A weaker model of the same kind to guide with (autoguidance), such as an earlier checkpoint or a smaller model (default: the model itself
   * without its label).
   */
  guideWith?: string;
  /** Height and width of the pictures in pixels (default: what the model was trained for). */
  size?: readonly [number, number];
}

/** A model on the disk with its description, before any weight is read. */
export interface PipelineFile extends ModelFile {
  card: ModelCard;
  /** The weaker model to guide with, if one was asked for. */
  guide?: ModelFile & { card: ModelCard };
  /**
   * Brings it to the current backend; the file stays open.
   * @throws WeightsMismatchError if weights are missing or of another shape
   * @throws ArgumentError if the size does not fit the model's patches
   * @throws AutoencoderMismatchError and others, see `openSpace`
   */
  load(): Promise<Pipeline>;
}

/**
 * Opens a model without bringing it to a device.
 * @param location see `openModel` of `@dit-moe/dit/node`
 * @throws ArgumentError if it does not say how it was trained and the caller does not, either
 * @throws ModelMismatchError if the guide does not fit the model
 * @throws as `openModel`
 */
export async function openPipelineFile(location: string, options: OpenPipelineOptions = {}): Promise<PipelineFile> {
  const { precision, vae, size, guideWith } = options;
  const { file, card, assumed } = await openDescribed(location, options);
  let guide: Awaited<ReturnType<typeof openDescribed>> | undefined;
  const close = async (): Promise<void> => {
    await file.close();
    await guide?.file.close();
  };
  try {
    if (guideWith !== undefined) {
      const { objective, timeScale, convention, onWarning } = options;
      guide = await openDescribed(guideWith, { objective, timeScale, convention, onWarning });
      checkGuide(card, guide.card, guideWith);
    }
    return {
      ...file,
      card,
      assumed: [...file.assumed, ...assumed, ...(guide?.assumed.map((sentence) => `of the guide: ${sentence}`) ?? [])],
      ...(guide !== undefined && { guide: { ...guide.file, card: guide.card } }),
      close,
      async load() {
        const space = await openSpace(card, vae ?? (card.latents === undefined ? await pipelineAutoencoder(location) : undefined));
        const sized = (own: ModelCard): ModelCard => (size === undefined ? own : { ...own, config: resized(own, size, space.scale) });
        try {
          const itsGuide = guide === undefined ? undefined : { ...guide.file, card: sized(guide.card) };
          const [model, weaker] = await loadWithGuide({ ...file, card: sized(card) }, itsGuide, precision, options.onWarning);
          return new Pipeline(model, space, weaker);
        } catch (error) {
          space.dispose();
          throw error;
        }
      },
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** A model with its description, of others as its user says. */
async function openDescribed(
  location: string,
  { objective, timeScale, convention, ...options }: OpenModelOptions & Training,
): Promise<{ file: ModelFile; card: ModelCard; assumed: readonly string[] }> {
  const file = await openModel(location, options);
  try {
    const { card, assumed } = cardOf(file, { objective, timeScale, convention });
    const { classNames, ofImagenet } = allNames(card.classNames, card.config.numClasses);
    const names = ofImagenet ? ['the 1,000 classes, which the model does not name, are those of ImageNet'] : [];
    return { file, card: { ...card, classNames }, assumed: [...assumed, ...names] };
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** The autoencoder of a whole pipeline of diffusers, which has it beside the transformer. */
async function pipelineAutoencoder(location: string): Promise<string | undefined> {
  const names = await fs.readdir(location).catch((): string[] => []);
  return names.includes('transformer') && names.includes('vae') ? path.join(location, 'vae') : undefined;
}

/**
 * Opens a model, ready to make pictures. Without a backend of TensorFlow.js, the best one is started: the TensorFlow runtime, or
 * WebAssembly, with the threads that suit the model.
 * @throws as {@link openPipelineFile} and `PipelineFile.load`
 */
export async function openPipeline(location: string, options: OpenPipelineOptions = {}): Promise<Pipeline> {
  const file = await openPipelineFile(location, options);
  try {
    if (!hasBackend()) await startBackend('auto', threadsOf([file.card], options.precision));
    return await file.load();
  } finally {
    await file.close();
  }
}

const hasBackend = (): boolean => tf.engine().backendName !== undefined && tf.engine().backendName !== '';

/**
 * Threads that suit all of the models. An autoencoder's ops are long enough to be split, whatever its model is; only in int8 a model gains more
 * from whole ops than its autoencoder loses, where the processor has int8 products.
 */
export function threadsOf(cards: readonly ModelCard[], precision?: InferencePrecision): ReturnType<typeof threadsFor> {
  const used = precision === 'int8' && !hasVnni() ? 'f32' : precision;
  if (used !== 'int8' && !cards.every(isOfPixels)) return undefined;
  return threadsFor({ hiddenSize: Math.max(...cards.map(({ config }) => config.hiddenSize)) }, { precision: used });
}

/** Names for all classes: English ones where folders have ImageNet's, numbers where there are none, but for as many as ImageNet has. */
function allNames(names: readonly string[], numClasses: number): { classNames: readonly string[]; ofImagenet: boolean } {
  const ofImagenet = names.length === 0 && numClasses === imagenetNames.length;
  if (ofImagenet || names.join() === imagenetClasses.join()) return { classNames: imagenetNames, ofImagenet };
  return { classNames: Array.from({ length: Math.max(1, numClasses) }, (_, label) => names[label] ?? String(label)), ofImagenet };
}

function resized({ config }: ModelCard, [height, width]: readonly [number, number], scale: number): ModelCard['config'] {
  const step = scale * config.patchSize;
  if (height % step !== 0 || width % step !== 0)
    throw new ArgumentError('size', `multiples of ${step} for this model`, `${height}x${width}`);
  return withInputSize(config, [height / scale, width / scale]);
}
