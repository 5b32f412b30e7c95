/** How a model of others was trained, as far as its file tells: options that training scripts store beside the weights, and its layout. */
import { ArgumentError } from '@dit-moe/tensor-ops';
import type { DitConfig } from '../config.js';
import type { Layout } from './layouts.js';
import type { ModelCard } from './model-card.js';

/** The part of a card that files of others may tell. */
export type RecordedTraining = Partial<Pick<ModelCard, 'objective' | 'objectiveOptions' | 'timeScale' | 'convention' | 'guidedChannels'>>;

/** SiT's names of its paths. */
const SIT_PATHS: Record<string, string> = { Linear: 'linear', GVP: 'gvp', VP: 'vp' };

/** Channels that SiT guides, as DiT. */
const SIT_GUIDED_CHANNELS = 3;

/** A group of options, as LightningDiT's configurations have them. */
const sectionOf = (recorded: Readonly<Record<string, unknown>>, name: string): Record<string, unknown> => {
  const section = recorded[name];
  return typeof section === 'object' && section !== null ? (section as Record<string, unknown>) : {};
};

/** How SiT trains (willisma/SiT, `train.py`): velocity on a linear path unless its options say otherwise. */
export const sitTraining = (options: { path?: string; prediction?: string } = {}): RecordedTraining => ({
  objective: 'flow',
  objectiveOptions: { kind: 'flow', ...options },
  timeScale: 1,
  convention: 'sit',
  guidedChannels: SIT_GUIDED_CHANNELS,
});

/**
 * What is recorded of a model's training; empty if nothing is.
 * @param where what the file is called in errors
 * @throws ArgumentError if SiT's options name a path or prediction that is not known
 */
export function recordedTraining(
  recorded: Readonly<Record<string, unknown>>,
  layout: Layout,
  config: DitConfig,
  where: string,
): RecordedTraining {
  // Its pipeline guides all channels of the latents, unlike DiT's own scripts.
  if (layout === 'diffusers') return { objective: 'ddpm', guidedChannels: config.inChannels };
  const { path_type: pathType, prediction, rf, time_scale: timeScale } = { ...recorded, ...sectionOf(recorded, 'transport') };
  if (typeof pathType === 'string') {
    const path = SIT_PATHS[pathType];
    if (path === undefined) throw new ArgumentError(`${where}: args.path_type`, Object.keys(SIT_PATHS).join(', '), pathType);
    if (prediction !== undefined && !['velocity', 'noise', 'score'].includes(String(prediction)))
      throw new ArgumentError(`${where}: args.prediction`, 'velocity, noise, score', prediction);
    return sitTraining({ path, prediction: String(prediction ?? 'velocity') });
  }
  // Its own scripts know no other kind.
  if (layout === 'lightning') return sitTraining();
  // The option of DiT-MoE's scripts.
  if (typeof rf === 'boolean') return { objective: rf ? 'flow' : 'ddpm', ...(typeof timeScale === 'number' && { timeScale }) };
  return {};
}
