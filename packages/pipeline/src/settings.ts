/** What determines the pictures of a model, and which settings fit it. */
import {
  type CacheSchedule,
  checkCacheSchedule,
  checkGuidanceRule,
  type GridName,
  type Solver,
  type SolverName,
  solvers,
} from '@dit-moe/diffusion';
import type { ModelCard } from '@dit-moe/dit';
import { ArgumentError } from '@dit-moe/tensor-ops';
import {
  either,
  type FieldsOf,
  flag,
  integer,
  number,
  object,
  pair,
  parseSettings,
  partial,
  text,
  word,
} from '@dit-moe/tensor-ops/settings';
import { canBeGuided, samplingDefaults } from './conventions.js';

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
  /** Guidance scale; 1 for none. It leads away from the model without its label, or from the pipeline's guide if it has one. */
  guidance: number;
  /** How the two predictions are joined, as text that `parseGuidanceRule` reads (default: the model's, else `cfg`). */
  guidanceRule?: string;
  /** Leading channels that guidance changes (default: the model's, see its card). */
  guidedChannels?: number;
  /** Places `[from, to]` between clean data (0) and noise (1) at which guidance applies (default: all). */
  interval?: readonly [number, number];
  /** Evaluations of the model that are left out and extrapolated, see `CacheSchedule` (default: none); for solvers with a number of steps. */
  cache?: CacheSchedule;
  seed: number;
}

/** Settings of a sampling in files and requests; applications compose theirs of these. All may be left out, see {@link settingsFor}. */
export const sampleSettings = /* @__PURE__ */ (() =>
  object(
    partial({
      solver: word(Object.keys(solvers) as SolverName[], "default: the model's"),
      steps: integer("solver steps (default: the solver's own)", { least: 1 }),
      grid: word(['uniform', 'karras', 'exponential'], "where the steps lie (default: the solver's own)"),
      shift: number('above 1: more steps of the uniform grid near noise (default 1)', { above: 0 }),
      eta: number('fresh noise of ddim and the DPM-Solver++ SDEs', { least: 0 }),
      spacing: text('timesteps of ddpm and ddim for Gaussian models, such as ddim50 or 250 (default: evenly spaced)'),
      clip: flag('clip predicted clean images to [-1, 1] (default false)'),
      guidance: number("classifier-free guidance scale; 1 for none (default: the model's)"),
      guidanceRule: text("rule of guidance and its numbers, such as rescale or apg:momentum=-0.5 (default: the model's, else cfg)"),
      guidedChannels: integer("leading channels that guidance changes (default: the model's)", { least: 1 }),
      interval: pair(
        number('a place', { least: 0, most: 1 }),
        'places [from, to] between clean data (0) and noise (1) at which guidance applies (default: all)',
      ),
      cache: either(
        [word(['fast', 'exact']), integer('every n-th evaluation is computed', { least: 2 })],
        'evaluations of the model to leave out and extrapolate (default: none)',
      ),
      seed: integer('an image depends on it and its number (default 0)', { least: 0 }),
    } satisfies FieldsOf<SampleSettings>),
    'how images are sampled',
  ))();

/**
 * Settings of a sampling from JSON.
 * @param what they are called in errors
 * @throws SettingsError on unknown fields, wrong words, numbers out of range
 */
export const parseSampleSettings = (json: unknown, what = 'The settings'): Partial<SampleSettings> =>
  parseSettings(sampleSettings, json, what);

/**
 * Complete settings for a model: what is left out is the model's default, a solver's own number of steps, and seed 0.
 * @param given may hold more than settings, which is left out
 * @param guide a weaker model to guide with, if there is one
 * @throws ArgumentError if a setting does not fit the model
 */
export function settingsFor(card: ModelCard, given: Partial<SampleSettings>, guide?: ModelCard): SampleSettings {
  const { grid, shift, eta, spacing, clip, interval, cache, seed = 0 } = given;
  const defaults = samplingDefaults(card, guide);
  const { solver = defaults.solver, guidance = defaults.guidance, guidanceRule = defaults.guidanceRule } = given;
  if (!Object.hasOwn(solvers, solver)) throw new ArgumentError('sample: solver', Object.keys(solvers).join(', '), solver);
  const { steps: solversOwn, evaluationsPerStep } = solvers[solver] as Solver;
  const { steps = solver === defaults.solver ? defaults.steps : solversOwn, guidedChannels } = given;
  checkGuidance(card, guidance, guide);
  if (guidanceRule !== undefined) checkGuidanceRule(guidanceRule, { flow: card.objective === 'flow', evaluationsPerStep });
  if (interval !== undefined && !(interval[0] >= 0 && interval[0] <= interval[1] && interval[1] <= 1))
    throw new ArgumentError('sample: interval', '[from, to] with 0 <= from <= to <= 1', interval);
  if (cache !== undefined) checkCacheSchedule(cache);
  if (cache !== undefined && steps === undefined)
    throw new ArgumentError('sample: cache', 'a solver with a number of steps: this one chooses them by what the model says', solver);
  const channels = card.config.inChannels;
  if (guidedChannels !== undefined && !(Number.isInteger(guidedChannels) && guidedChannels >= 1 && guidedChannels <= channels))
    throw new ArgumentError('sample: guidedChannels', `1 to ${channels}, the model's channels`, guidedChannels);
  if (!Number.isSafeInteger(seed) || seed < 0) throw new ArgumentError('sample: seed', 'a whole number from 0 to 2^53 - 1', seed);
  const all = { solver, steps, grid, shift, eta, spacing, clip, guidance, guidanceRule, guidedChannels, interval, cache, seed };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined)) as unknown as SampleSettings;
}

/**
 * Checks that a model can be guided as asked.
 * @throws ArgumentError if it has no label for "no class", and there is no guide
 */
function checkGuidance(card: ModelCard, guidance: number | undefined, guide?: ModelCard): void {
  if (guidance !== undefined && guidance !== 1 && !canBeGuided(card, guide))
    throw new ArgumentError(
      'guidance',
      '1, as this model was trained without a label for "no class" and can be guided by a second model only',
      guidance,
    );
}
