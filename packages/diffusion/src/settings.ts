/** The objective's settings in files; the trainer's configuration and the model card are composed of these. */
import {
  either,
  type FieldsOf,
  flag,
  integer,
  list,
  number,
  object,
  optional,
  parseSettings,
  variants,
  word,
} from '@dit-moe/tensor-ops/settings';
import { currentObjective, type DdpmObjectiveOptions, type FlowObjectiveOptions, type ObjectiveOptions, objective } from './objectives.js';
import type { TimeSampling } from './time-sampling.js';

const times = /* @__PURE__ */ (() =>
  object(
    {
      distribution: optional(word(['logit-normal', 'uniform'], 'logit-normal (default) prefers the middle of the path')),
      mean: optional(number('of the logit-normal distribution (default 0)')),
      deviation: optional(number('of the logit-normal distribution (default 1)', { above: 0 })),
      stratified: optional(flag('one time per stratum of equal probability in every batch: smaller variance of the loss (default false)')),
      shift: optional(number('above 1: noisier times, for larger images (default 1)', { above: 0 })),
    } satisfies FieldsOf<TimeSampling>,
    'how times are drawn (default: logit-normal)',
  ))();

/** Settings of {@link FlowObjectiveOptions}. */
export const flowFields = /* @__PURE__ */ (() =>
  ({
    path: optional(word(['linear', 'gvp', 'vp'], 'from data to noise: linear (default, a rectified flow), or the curved ones of SiT')),
    prediction: optional(
      word(['velocity', 'noise', 'score', 'start'], 'what the model gives (default velocity; start is the clean sample)'),
    ),
    weighting: optional(
      word(
        ['none', 'velocity', 'likelihood'],
        'weight of the error over time (default none); velocity: that of the velocity that follows, for start as JiT, for noise and score as SiT',
      ),
    ),
    timeFloor: optional(
      number('times below it weigh as it does, for start with the weight of the velocity (default 0.05, as JiT)', { above: 0, below: 1 }),
    ),
    cosine: optional(number('weight of the cosine of the velocity (default 0; LightningDiT: 1)', { least: 0 })),
    contrast: optional(number('weight of contrastive flow matching (default 0; 0.05 in its paper)', { least: 0 })),
    times: optional(times),
  }) satisfies FieldsOf<FlowObjectiveOptions>)();

/** Settings of {@link DdpmObjectiveOptions}. */
export const ddpmFields = /* @__PURE__ */ (() =>
  ({
    schedule: optional(
      either(
        [word(['linear', 'cosine', 'squaredcos_cap_v2']), list(number('beta of a step', { above: 0, below: 1 }), undefined, { least: 1 })],
        'variance added in each step: by name (default linear, as DiT), or the numbers themselves',
      ),
    ),
    steps: optional(integer('timesteps in training (default 1000)', { least: 1 })),
    prediction: optional(
      word(
        ['noise', 'start', 'v', 'previous'],
        'what the model gives: the noise (default, as DiT), the clean sample, v, or the mean of the step before',
      ),
    ),
    varianceType: optional(
      word(
        ['learned-range', 'learned', 'fixed-large', 'fixed-small'],
        'variance of a step back: learned between its bounds (learned-range, default, as DiT), learned, or one of the bounds',
      ),
    ),
    loss: optional(
      word(
        ['mse', 'rescaled-mse', 'kl', 'rescaled-kl'],
        'squared error (mse, default, with the variational term if the variance is learned), or the variational bound',
      ),
    ),
    minSnr: optional(number('limit of the weight of nearly clean samples (min-SNR; 5 in its paper; default: none)', { above: 0 })),
    timesteps: optional(
      word(
        ['uniform', 'loss-second-moment'],
        'uniform (default); loss-second-moment: timesteps of large losses are drawn more often and weigh less',
      ),
    ),
  }) satisfies FieldsOf<DdpmObjectiveOptions>)();

/** Settings of {@link ObjectiveOptions}; `kind` tells them apart. */
export const objectiveSettings = /* @__PURE__ */ variants('kind', { flow: flowFields, ddpm: ddpmFields }, 'what the model is trained for');

/**
 * An objective's options from JSON, also as earlier versions named them (see {@link currentObjective}).
 * @param what they are called in errors
 * @throws SettingsError on unknown fields, wrong words, numbers out of range
 * @throws ArgumentError if fields do not fit each other, see {@link objective}
 */
export function parseObjective(json: unknown, what = 'The objective'): ObjectiveOptions {
  const current = typeof json === 'object' && json !== null ? currentObjective(json) : json;
  const options: ObjectiveOptions = parseSettings(objectiveSettings, current, what);
  objective(options);
  return options;
}
