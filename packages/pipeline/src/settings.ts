/** What determines the pictures of a model, and which settings fit it. */
import { type GridName, type Solver, type SolverName, solvers } from '@dit-moe/diffusion';
import { type ModelCard, nullLabelOf } from '@dit-moe/dit';
import { ArgumentError } from '@dit-moe/tensor-ops';
import { samplingDefaults } from './conventions.js';

/** Settings of the sampling; with the model, a label and an image's number they determine its picture. */
export interface SampleSettings {
  solver: SolverName;
  /** Solver steps; absent where the solver chooses. */
  steps?: number;
  /** Where the steps lie (default: the solver's own). */
  grid?: GridName;
  /** Above 1: more of the uniform grid's steps near noise (default 1). */
  shift?: number;
  /** Fresh noise of solvers that can do with or without. */
  eta?: number;
  /** Timesteps of `ddpm` and `ddim` for Gaussian models, such as `ddim50` or `250` (default: `steps` evenly spaced). */
  spacing?: string;
  /** Clip the predicted clean samples to [-1, 1] (default false: latents are not bounded). */
  clip?: boolean;
  /** Classifier-free guidance scale; 1 for none. */
  guidance: number;
  /** Leading channels that guidance changes (default: the model's, see its card). */
  guidedChannels?: number;
  /** Times `[from, to]` in which guidance applies (default: all). */
  interval?: readonly [number, number];
  seed: number;
}

/**
 * Complete settings for a model: what is left out is the model's default, a solver's own number of steps, and seed 0.
 * @param given may hold more than settings, which is left out
 * @throws ArgumentError if a setting does not fit the model
 */
export function settingsFor(card: ModelCard, given: Partial<SampleSettings>): SampleSettings {
  const { grid, shift, eta, spacing, clip, interval, seed = 0 } = given;
  const defaults = samplingDefaults(card);
  const { solver = defaults.solver, guidance = defaults.guidance } = given;
  if (!Object.hasOwn(solvers, solver)) throw new ArgumentError('sample: solver', Object.keys(solvers).join(', '), solver);
  const own = solver === defaults.solver ? defaults.steps : (solvers[solver] as Solver).steps;
  const { steps = own, guidedChannels } = given;
  checkGuidance(card, guidance);
  const channels = card.config.inChannels;
  if (guidedChannels !== undefined && !(Number.isInteger(guidedChannels) && guidedChannels >= 1 && guidedChannels <= channels))
    throw new ArgumentError('sample: guidedChannels', `1 to ${channels}, the model's channels`, guidedChannels);
  if (!Number.isSafeInteger(seed) || seed < 0) throw new ArgumentError('sample: seed', 'a whole number from 0 to 2^53 - 1', seed);
  const all = { solver, steps, grid, shift, eta, spacing, clip, guidance, guidedChannels, interval, seed };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined)) as unknown as SampleSettings;
}

/**
 * Checks that a model can be guided as asked.
 * @throws ArgumentError if it has no label for "no class"
 */
export function checkGuidance(card: ModelCard, guidance: number | undefined): void {
  if (guidance !== undefined && guidance !== 1 && nullLabelOf(card.config) === undefined)
    throw new ArgumentError('guidance', '1, as this model was trained without a label for "no class" and cannot be guided', guidance);
}
