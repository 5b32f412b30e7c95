/**
 * What a file of weights says about itself: everything that sampling needs beside the numbers.
 *
 * It is stored as JSON in the metadata of a safetensors file, so that one file is a whole model.
 */
import { ArgumentError } from '@dit-moe/tensor-ops';
import { type DitConfig, ditSizes } from './config.js';

/** Description of a trained model. */
export interface ModelCard {
  config: DitConfig;
  /** What the output means: `flow` is the velocity noise - data, with t from 0 (data) to 1 (noise). */
  objective: 'flow';
  /** The model's timestep is t times this (1 in the reference, which gives t as it is). */
  timeScale: number;
  /** Names of the classes in the order of their labels. */
  classNames: readonly string[];
  /** Training steps taken. */
  step: number;
}

const FORMAT = 'dit-moe/1';

/** The card as safetensors metadata. */
export function cardToMetadata(card: ModelCard): Record<string, string> {
  return { format: FORMAT, card: JSON.stringify(card) };
}

/**
 * The card from safetensors metadata.
 * @param where what the file is called in errors
 * @throws ArgumentError if there is no card, or it is of another version or inconsistent
 */
export function cardFromMetadata(metadata: Readonly<Record<string, string>>, where: string): ModelCard {
  if (metadata['format'] !== FORMAT || metadata['card'] === undefined)
    throw new ArgumentError(where, `a model written by this project (metadata format ${FORMAT})`, `format ${metadata['format'] ?? 'none'}`);
  const card = JSON.parse(metadata['card']) as ModelCard;
  ditSizes(card.config);
  if (card.objective !== 'flow') throw new ArgumentError(where, 'objective flow', card.objective);
  return card;
}
