/**
 * What a trained model means: the one place that decides its objective, which channels guidance changes, and how it is sampled by default.
 * Previews of a training, command lines, server and page all ask here.
 */
import {
  type Denoiser,
  type DiffusionModel,
  type ObjectiveOptions,
  objective,
  parseObjective,
  presets,
  type SolverName,
} from '@dit-moe/diffusion';
import { type ModelCard, nullLabelOf } from '@dit-moe/dit';

/** Channels that DiT and DiT-MoE guide in their models of Gaussian diffusion, whose latents have four. */
const GAUSSIAN_GUIDED_CHANNELS = 3;

/** Guidance scale of flow models. */
const FLOW_GUIDANCE = 2;

/** Guidance scale of the reference's `sample_ddp.py`. */
const GAUSSIAN_GUIDANCE = 1.5;

/** How a model is sampled unless its user says otherwise. */
export interface SamplingDefaults {
  solver: SolverName;
  /** Steps of this solver. */
  steps: number;
  /** Scale of guidance; 1 is none. */
  guidance: number;
  /** Rule of guidance, where the model's card names one. */
  guidanceRule?: string;
}

/**
 * Flow models: 50 Euler steps and guidance 2. Gaussian models as DiT's and DiT-MoE's `sample_ddp.py`: 250 ancestral steps and guidance 1.5.
 * A scale of guidance on the card, that of the previews which its trainer saw, goes before these.
 * A model without a label for "no class" is not guided, unless by a guide.
 * @param guide a weaker model to guide with, if there is one
 */
export function samplingDefaults(card: ModelCard, guide?: ModelCard): SamplingDefaults {
  const { guidance, ...solver } =
    card.objective === 'flow' ? { ...presets.flow, guidance: FLOW_GUIDANCE } : { ...presets.ddpm, guidance: GAUSSIAN_GUIDANCE };
  return {
    ...solver,
    guidance: canBeGuided(card, guide) ? (card.guidance ?? guidance) : 1,
    ...(card.guidanceRule !== undefined && { guidanceRule: card.guidanceRule }),
  };
}

/** Whether there is something worse to lead away from: the model without its label, or a guide. */
export const canBeGuided = (card: ModelCard, guide?: ModelCard): boolean => guide !== undefined || nullLabelOf(card.config) !== undefined;

/** Leading channels that guidance changes: those of the card, else 3 of Gaussian models, as the reference, and all of flow models. */
export function guidedChannels({ guidedChannels: recorded, objective, config }: ModelCard): number {
  const channels = recorded ?? (objective === 'ddpm' ? GAUSSIAN_GUIDED_CHANNELS : config.inChannels);
  return Math.min(channels, config.inChannels);
}

/** Options of the objective that a model was trained with; cards of foreign models have none. */
export function objectiveOptions({ objectiveOptions: recorded, objective, config }: ModelCard): ObjectiveOptions {
  if (recorded !== undefined) return parseObjective(recorded, "The objective of the model's card");
  if (objective === 'flow') return { kind: 'flow' };
  // What DiT's own scripts take for models without learned variance.
  return config.learnSigma ? { kind: 'ddpm' } : { kind: 'ddpm', varianceType: 'fixed-large' };
}

/** What a solver has to know of the model, around a denoiser such as a guided one. */
export const diffusionModel = (card: ModelCard, denoiser: Denoiser): DiffusionModel => objective(objectiveOptions(card)).model(denoiser);
