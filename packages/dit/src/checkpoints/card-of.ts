/** What a model is: as its file says, or, of a file of others, as its user says. */
import { ArgumentError } from '@dit-moe/tensor-ops';
import { type CardRequirements, type ModelCard, requireCard } from './model-card.js';
import type { ModelFile } from './read-model.js';
import { sitTraining } from './recorded-training.js';

/** How a model was trained, which files of others do not always say. */
export type Training = { [K in 'objective' | 'timeScale' | 'convention']?: ModelCard[K] | undefined };

/** A card, and what of it was assumed, as sentences. */
export interface FoundCard {
  card: ModelCard;
  assumed: readonly string[];
}

/**
 * The card of an opened model; for files of other implementations one is made of what they record and what the caller says. A dense model
 * that records nothing is taken for one of facebookresearch/DiT, which are all trained as Gaussian diffusion; of DiT-MoE's, the published
 * S and B are `ddpm`, XL and G `flow`.
 *
 * @param training must not contradict a card or what is recorded
 * @throws ModelMismatchError if it does
 * @throws ArgumentError if nobody says how the model was trained
 */
export function cardOf(
  { path, config, card, training: recorded = {} }: Pick<ModelFile, 'path' | 'config' | 'card' | 'training'>,
  training: Training = {},
): FoundCard {
  if (card !== undefined) {
    requireCard(card, training as CardRequirements, path);
    return { card, assumed: [] };
  }
  const told = Object.fromEntries(Object.entries(training).filter(([, value]) => value !== undefined)) as Partial<ModelCard>;
  const known = { ...(told.convention === 'sit' && recorded.convention === undefined && sitTraining()), ...recorded };
  const assumed: string[] = [];
  let objective = known.objective ?? told.objective;
  if (objective === undefined && config.moe === undefined) {
    objective = 'ddpm';
    assumed.push(
      'Gaussian diffusion, as facebookresearch/DiT trains it; the files of SiT have the same tensors, and have to be called so (convention sit)',
    );
  }
  if (objective === undefined)
    throw new ArgumentError(
      `${path}: objective`,
      'ddpm (as the published DiT-MoE S/2 and B/2) or flow (as XL/2 and G/2), which the file does not say',
      objective,
      { hint: 'Say it: --objective.' },
    );
  if (objective === 'flow' && told.timeScale === undefined && known.timeScale === undefined)
    assumed.push('the model is told times from 0 to 1, as the published flow models (--time-scale for others)');
  const made: ModelCard = { timeScale: 1, ...told, ...known, config, objective, classNames: [], step: 0 };
  requireCard(made, told as CardRequirements, path);
  return { card: made, assumed };
}
