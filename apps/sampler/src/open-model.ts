/** Opens a trained model: a run folder, one of its checkpoints, or a safetensors file. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { cardFromMetadata, type ModelCard } from '@dit-moe/dit';
import { ArgumentError, type Precision } from '@dit-moe/tensor-ops';
import { SafetensorsFile } from '@dit-moe/tensor-ops/io/node';
import * as tf from '@tensorflow/tfjs-core';
import { ModelError, UsageError } from './errors.js';
import { pixelSpace } from './image-space.js';
import { openLatentSpace } from './latent-space.js';
import { type OpenModel, prepareModel } from './model.js';

/** Which weights of a run: the average (better samples) or the last ones. */
export type WeightChoice = 'ema' | 'weights';

/** The file of weights behind `location`; of a run folder, that of its newest checkpoint. */
export async function findModel(location: string, choice: WeightChoice): Promise<string> {
  const stat = await fs.stat(location).catch(() => undefined);
  if (stat === undefined) throw new ModelError(`There is no ${location}. Give a run folder, a checkpoint folder or a .safetensors file.`);
  if (stat.isFile()) return location;
  const file = path.join(location, `${choice}.safetensors`);
  if ((await fs.stat(file).catch(() => undefined)) !== undefined) return file;
  const checkpoints = path.join(location, 'checkpoints');
  const newest = (await fs.readdir(checkpoints).catch(() => [] as string[]))
    .filter((name) => /^step-\d+$/.test(name))
    .sort()
    .at(-1);
  if (newest === undefined)
    throw new ModelError(`${location} holds neither ${choice}.safetensors nor checkpoints/step-N. Is it a run folder?`);
  return path.join(checkpoints, newest, `${choice}.safetensors`);
}

export interface OpenOptions {
  precision?: Precision;
  /** Autoencoder for models of latents: a folder or a name on the Hugging Face hub. */
  vae?: string;
  /** Height and width of the pictures in pixels (default: what the model was trained for). */
  size?: readonly [number, number];
}

/** What the published models were trained with. */
const DEFAULT_VAE = 'stabilityai/sd-vae-ft-ema';

/** Weights on the disk. */
export interface OpenWeights {
  card: ModelCard;
  /** Float32 values of a weight of that shape. */
  read(name: string, shape: readonly number[]): Promise<Float32Array>;
  close(): Promise<void>;
}

/**
 * Opens a file of weights without bringing them to a device.
 * @throws ModelError if it is no model
 */
export async function openWeights(file: string): Promise<OpenWeights> {
  const source = await openFile(file);
  try {
    const card = await readMetadata(source, file);
    return { card, read: (name, shape) => readWeight(source, file, name, shape), close: () => source.close() };
  } catch (error) {
    await source.close();
    throw error;
  }
}

/**
 * Opens a model.
 * @throws ModelError if weights are missing or of another shape
 * @throws UsageError if the size does not fit the model's patches
 */
export async function openModel(file: string, { precision = 'f32', vae = DEFAULT_VAE, size }: OpenOptions = {}): Promise<OpenModel> {
  const { card, read, close } = await openWeights(file);
  try {
    const { inChannels } = card.config;
    const space = inChannels === 1 || inChannels === 3 ? pixelSpace(inChannels) : await openLatentSpace(vae, inChannels);
    try {
      const resized = size === undefined ? card : { ...card, config: { ...card.config, inputSize: inputSizeOf(size, card, space.scale) } };
      return await prepareModel(resized, space, read, precision);
    } catch (error) {
      space.dispose();
      throw error;
    }
  } finally {
    await close();
  }
}

function openFile(file: string): Promise<SafetensorsFile> {
  return SafetensorsFile.open(file).catch((cause) => {
    throw new ModelError(`Cannot open the model: ${(cause as Error).message}`, { cause });
  });
}

async function readMetadata(source: SafetensorsFile, file: string): Promise<ModelCard> {
  try {
    return cardFromMetadata(source.metadata, file);
  } catch (cause) {
    if (cause instanceof ArgumentError || cause instanceof SyntaxError) throw new ModelError((cause as Error).message, { cause });
    throw cause;
  }
}

function inputSizeOf(size: readonly [number, number], { config }: ModelCard, scale: number): [number, number] {
  const step = scale * config.patchSize;
  if (size.some((edge) => edge % step !== 0))
    throw new UsageError(`--size: expected multiples of ${step} for this model, found ${size.join('x')}.`);
  return [size[0] / scale, size[1] / scale];
}

async function readWeight(source: SafetensorsFile, file: string, name: string, shape: readonly number[]): Promise<Float32Array> {
  // Averages are stored under "ema.<decay>.<name>".
  const stored = source.names.find((n) => n === name || (n.startsWith('ema.') && n.endsWith(`.${name}`)));
  if (stored === undefined) throw new ModelError(`${file} has no weight "${name}".`);
  const tensor = await source.read(stored);
  if (!tf.util.arraysEqual(tensor.shape, shape as number[]))
    throw new ModelError(`${file}: "${name}" is [${tensor.shape}], expected [${shape}].`);
  return tensor.data as Float32Array;
}
