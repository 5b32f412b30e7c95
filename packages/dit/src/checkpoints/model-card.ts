/**
 * What a file of weights says about itself: everything that sampling needs beside the numbers.
 *
 * It is stored as JSON in the metadata of a safetensors file, so that one file is a whole model.
 */
import { DitMoeError } from '@dit-moe/tensor-ops';
import {
  either,
  type FieldsOf,
  integer,
  list,
  number,
  object,
  optional,
  type Problem,
  record,
  SettingsError,
  text,
  word,
} from '@dit-moe/tensor-ops/settings';
import { type DitConfig, ditSizes, nullLabelOf } from '../config.js';
import { ditSettings } from '../settings.js';

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
   * Whose time and velocity a flow model has: `sit`, also LightningDiT's, goes from noise (0) to data (1), and its velocity is
   * data - noise (default: this project's, from data to noise).
   */
  convention?: 'sit';
  /**
   * Leading channels that classifier-free guidance changes (default: 3 of `ddpm` models, as DiT and DiT-MoE sample theirs, and all of flow
   * models).
   */
  guidedChannels?: number;
  /** Scale of guidance that the model is sampled with by default; 1 is none (default: 2 of flow models, 1.5 of Gaussian ones). */
  guidance?: number;
  /** Rule of guidance that the model is sampled with by default, as the diffusion package reads it (default: `cfg`). */
  guidanceRule?: string;
  /** Names of the classes in the order of their labels. */
  classNames: readonly string[];
  /** Training steps taken. */
  step: number;
  /** Decay of the average that the weights are; absent if they are the last ones. */
  emaDecay?: number;
  /** Where the model works on latents: what they are; without it, on pixels in [-1, 1]. */
  latents?: LatentSpace;
}

/** Latents of an autoencoder: its own, minus `shiftFactor`, times `scalingFactor`, each one number or one for each channel. */
export interface LatentSpace {
  scalingFactor: number | readonly number[];
  shiftFactor: number | readonly number[];
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

const perChannel = (description: string) => either([number('for all channels'), list(number('for a channel'))], description);

const latentSettings = object(
  {
    scalingFactor: perChannel("a latent is the autoencoder's, minus shiftFactor, times this: a number, or one for each channel"),
    shiftFactor: perChannel('of the latents, a number or one for each channel'),
    downsampling: number('pixels per latent and side', { above: 0 }),
    vae: text("sha256 of the weights of the autoencoder's encoder"),
    autoencoder: optional(text('name or path of the autoencoder')),
  } satisfies FieldsOf<LatentSpace>,
  'what the latents are that the model works on (default: it works on pixels)',
);

const cardSettings = object(
  {
    config: ditSettings,
    objective: word(['flow', 'ddpm'], 'what the output means'),
    objectiveOptions: optional(record('options of the objective with its kind')),
    timeScale: number('of a flow model: its timestep is t times this', { above: 0 }),
    convention: optional(word(['sit'], "whose time and velocity a flow model has (default: this project's)")),
    guidedChannels: optional(integer('leading channels that guidance changes', { least: 1 })),
    guidance: optional(number('scale of guidance by default, 1 for none')),
    guidanceRule: optional(text('rule of guidance by default, such as rescale or apg:momentum=-0.5')),
    classNames: list(text('name of a class'), 'in the order of their labels'),
    step: integer('training steps taken', { least: 0 }),
    emaDecay: optional(number('decay of the average that the weights are', { least: 0, most: 1 })),
    latents: optional(latentSettings),
  } satisfies FieldsOf<ModelCard>,
  'what a file of weights says about itself',
);

/** A file's card is not one: fields unknown, misspelt, missing or out of range. */
export class ModelCardError extends SettingsError {
  static override readonly code = 'E_MODEL_CARD';
}

/**
 * The card from safetensors metadata.
 * @param where what the file is called in errors
 * @throws ModelCardError if there is no card, it is of another version, or fields are unknown, misspelt or out of range
 * @throws ArgumentError if its configuration is inconsistent
 */
export function cardFromMetadata(metadata: Readonly<Record<string, string>>, where: string): ModelCard {
  const what = `${where}: the model card`;
  const { format, card: json } = metadata;
  if (format !== FORMAT || json === undefined)
    throw new ModelCardError(what, [{ at: 'format', expected: `${FORMAT}, as this version writes it`, found: format }]);
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (cause) {
    throw new ModelCardError(what, [{ at: 'card', expected: 'JSON', found: (cause as Error).message }], { cause });
  }
  const problems: Problem[] = [];
  const card: ModelCard = cardSettings.read(value, '', problems);
  if (problems.length > 0) throw new ModelCardError(what, problems);
  const { numClasses } = card.config;
  if (card.classNames.length > numClasses)
    throw new ModelCardError(what, [{ at: 'classNames', expected: `up to ${numClasses} names`, found: card.classNames.length }]);
  ditSizes(card.config);
  return card;
}

/** What somebody needs a model to be; fields that are left out may be anything. */
export type CardRequirements = Partial<Pick<ModelCard, 'objective' | 'timeScale' | 'convention' | 'latents'>> & {
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
    convention: card.convention ?? "this project's",
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
