/** What a model is: as its file says, or, of a file of others, as its user says. */
import { ArgumentError } from '@dit-moe/tensor-ops';
import { type CardRequirements, type ModelCard, requireCard } from './model-card.js';
import type { ModelFile } from './read-model.js';

/** How a model was trained, which files of others do not say. */
export type Training = { [K in 'objective' | 'timeScale']?: ModelCard[K] | undefined };

/**
 * The card of an opened model; one is made for files of other implementations. Dense models among them are DiT's, which are all trained
 * as Gaussian diffusion; of DiT-MoE's, the published S and B are `ddpm`, XL and G `flow`.
 *
 * @param training needed for a model with experts in a file of others; must not contradict a card
 * @throws ModelMismatchError if it does
 * @throws ArgumentError if nobody says how the model was trained
 */
export function cardOf({ path, config, card }: Pick<ModelFile, 'path' | 'config' | 'card'>, training: Training = {}): ModelCard {
  if (card !== undefined) {
    requireCard(card, training as CardRequirements, path);
    return card;
  }
  const objective = training.objective ?? (config.moe === undefined ? 'ddpm' : undefined);
  if (objective === undefined)
    throw new ArgumentError(`${path}: objective`, 'to be told (ddpm: the published DiT-MoE S/2 and B/2; flow: XL/2 and G/2)', objective);
  return { config, objective, timeScale: training.timeScale ?? 1, classNames: [], step: 0 };
}
