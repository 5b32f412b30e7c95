/**
 * What a file of weights says about itself: everything that sampling needs beside the numbers.
 *
 * It is stored as JSON in the metadata of a safetensors file, so that one file is a whole model.
 */
import { ArgumentError, DitMoeError } from '@dit-moe/tensor-ops';
import { type DitConfig, ditSizes, nullLabelOf } from '../config.js';

/** Description of a trained model. */
export interface ModelCard {
  config: DitConfig;
  /**
   * What the output means. `flow`: the velocity noise - data, with t from 0 (data) to 1 (noise). `ddpm`: the noise of DiT's Gaussian
   * diffusion (1000 linear steps), and with learned sigma the variance between its bounds; t is the training timestep.
   */
  objective: 'flow' | 'ddpm';
  /** Options of the objective with its kind, as `objective` of the diffusion package takes them (default: those of the reference). */
  objectiveOptions?: object;
  /** Of a flow model: its timestep is t times this (1 in the reference, which gives t as it is). */
  timeScale: number;
  /**
   * Leading channels that classifier-free guidance changes (default: 3 of `ddpm` models, as DiT and DiT-MoE sample theirs, and all of flow
   * models).
   */
  guidedChannels?: number;
  /** Names of the classes in the order of their labels. */
  classNames: readonly string[];
  /** Training steps taken. */
  step: number;
  /** Decay of the average that the weights are; absent if they are the last ones. */
  emaDecay?: number;
  /** Where the model works on latents: what they are; without it, on pixels in [-1, 1]. */
  latents?: LatentSpace;
}

/** Latents of an autoencoder: its own, minus `shiftFactor`, times `scalingFactor`. */
export interface LatentSpace {
  scalingFactor: number;
  shiftFactor: number;
  /** Pixels per latent and side. */
  downsampling: number;
  /** sha256 of the weights of the autoencoder's encoder. */
  vae: string;
  /** What the autoencoder was opened by, a name or a path, so that it is found again. */
  autoencoder?: string;
}

/** A model is not what its user takes it for; every difference is listed. */
export class ModelMismatchError extends DitMoeError {
  static override readonly code = 'E_MODEL_MISMATCH';
  constructor(where: string, differences: readonly string[]) {
    super(`${where} is another kind of model: ${differences.join('; ')}.`);
  }
}

const FORMAT = 'dit-moe/1';

/** The card as safetensors metadata. */
export function cardToMetadata(card: ModelCard): Record<string, string> {
  return { format: FORMAT, card: JSON.stringify(card) };
}

/** Whether metadata hold a card. */
export function hasCard(metadata: Readonly<Record<string, string>>): boolean {
  return metadata['format']?.startsWith('dit-moe/') === true;
}

/**
 * The card from safetensors metadata.
 * @param where what the file is called in errors
 * @throws ArgumentError if there is no card, or it is of another version or inconsistent
 */
export function cardFromMetadata(metadata: Readonly<Record<string, string>>, where: string): ModelCard {
  if (metadata['format'] !== FORMAT || metadata['card'] === undefined)
    throw new ArgumentError(where, `a model written by this project (metadata format ${FORMAT})`, `format ${metadata['format'] ?? 'none'}`);
  let card: ModelCard;
  try {
    card = JSON.parse(metadata['card']) as ModelCard;
  } catch (cause) {
    throw new ArgumentError(`${where}: card`, 'JSON', (cause as Error).message);
  }
  const isRecord = (value: unknown): boolean => typeof value === 'object' && value !== null && !Array.isArray(value);
  const check = (field: string, expected: string, valid: boolean, found: unknown): void => {
    if (!valid) throw new ArgumentError(`${where}: card.${field}`, expected, typeof found === 'object' ? JSON.stringify(found) : found);
  };
  check('config', 'a configuration', isRecord(card) && isRecord(card.config) && Array.isArray(card.config.inputSize), card?.config);
  ditSizes(card.config);
  check('objective', 'flow or ddpm', card.objective === 'flow' || card.objective === 'ddpm', card.objective);
  check('objectiveOptions', 'an object', card.objectiveOptions === undefined || isRecord(card.objectiveOptions), card.objectiveOptions);
  check('timeScale', 'a positive number', card.timeScale > 0 && Number.isFinite(card.timeScale), card.timeScale);
  const { classNames } = card;
  check(
    'classNames',
    `up to ${card.config.numClasses} names`,
    Array.isArray(classNames) && classNames.length <= card.config.numClasses && classNames.every((name) => typeof name === 'string'),
    classNames,
  );
  check('step', 'a whole number', Number.isInteger(card.step) && card.step >= 0, card.step);
  check('latents', 'an object', card.latents === undefined || isRecord(card.latents), card.latents);
  return card;
}

/** What somebody needs a model to be; fields that are left out may be anything. */
export type CardRequirements = Partial<Pick<ModelCard, 'objective' | 'timeScale' | 'latents'>> & {
  numClasses?: number;
  /** A label that stands for no class is needed, for classifier-free guidance. */
  nullLabel?: true;
};

/**
 * Refuses a model that is not what is needed: sampling a flow model by DDPM, or decoding with another autoencoder, gives noise.
 * @throws ModelMismatchError listing every field that differs, with what was expected and found
 */
export function requireCard(card: ModelCard, needed: CardRequirements, where: string): void {
  const found: Required<{ [K in keyof CardRequirements]: unknown }> = {
    objective: card.objective,
    timeScale: card.timeScale,
    latents: card.latents,
    numClasses: card.config.numClasses,
    nullLabel: nullLabelOf(card.config) !== undefined,
  };
  const text = (value: unknown): string => JSON.stringify(value, sortKeys) ?? 'none (it works on pixels)';
  const differences = (Object.keys(needed) as (keyof CardRequirements)[])
    .filter((field) => needed[field] !== undefined && text(needed[field]) !== text(found[field]))
    .map((field) => `${field} is ${text(found[field])}, needed ${text(needed[field])}`);
  if (differences.length > 0) throw new ModelMismatchError(where, differences);
}

/** For JSON.stringify: objects with their keys in order. */
function sortKeys(_key: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}
