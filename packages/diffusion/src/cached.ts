/**
 * Sampling that skips: between two evaluations of the model its prediction is extrapolated from the last two. A wrapper around a denoiser
 * that no solver and no guidance knows of; what is skipped follows from the places on the path alone, never from the samples.
 */
import { ArgumentError } from '@dit-moe/tensor-ops';
import type * as tf from '@tensorflow/tfjs-core';
import type { ConditionalDenoiser } from './denoiser.js';
import { logRatio, type NoiseLevel } from './paths.js';
import { weightedSum } from './weighted-sum.js';

/**
 * Which evaluations are computed: `fast` and `exact` those that are further than 0.25 and 0.1 from the last one in `log(alpha / sigma)`,
 * in which predictions change about evenly (measured, see `docs/measurements/solvers.md`); a number `n` from 2 every n-th, wherever it is.
 */
export type CacheSchedule = 'fast' | 'exact' | number;

/** Distances in `log(alpha / sigma)`: `exact` moves pictures by about a grey level unless noise is drawn, `fast` halves 50 even steps. */
const DISTANCES = { fast: 0.25, exact: 0.1 } as const;

/** Predictions that are extrapolated: a third one adds what routers that change their minds add, more noise than curvature. */
const KEPT = 2;

/** A prediction that the model was asked for. */
interface Kept {
  level: NoiseLevel;
  prediction: tf.Tensor;
}

/**
 * `model`, asked only where the schedule says so. It serves one sampling from its start to its end, and gives the same for a sample in any
 * batch; where the batch's size changes, as at the ends of guidance's interval, it asks the model.
 * @throws ArgumentError unless the schedule is one
 */
export function cached(model: ConditionalDenoiser, schedule: CacheSchedule): ConditionalDenoiser & { dispose(): void } {
  checkCacheSchedule(schedule);
  const isNear = nearness(schedule);
  /** Newest first. */
  const kept: Kept[] = [];
  /** Calls since the last evaluation. */
  let calls = 0;
  const forget = (from: number): void => {
    for (const { prediction } of kept.splice(from)) prediction.dispose();
  };
  const predict: ConditionalDenoiser = async (x, t, y, level) => {
    if (kept.length > 0 && kept[0].prediction.shape[0] !== x.shape[0]) forget(0);
    calls++;
    if (kept.length === KEPT && isNear(level, kept[0].level, calls)) return extrapolated(kept, level.t);
    const prediction = await model(x, t, y, level);
    // Two at one place, as of a solver that corrects itself, say nothing of the way from here.
    if (kept[0]?.level.t === level.t) kept.shift()!.prediction.dispose();
    kept.unshift({ level, prediction: prediction.clone() });
    forget(KEPT);
    calls = 0;
    return prediction;
  };
  return Object.assign(predict, { dispose: () => forget(0) });
}

/**
 * Checks a schedule.
 * @throws ArgumentError unless it is `fast`, `exact`, or a whole number from 2
 */
export function checkCacheSchedule(schedule: CacheSchedule): void {
  const isNumber = Number.isInteger(schedule) && (schedule as number) >= 2;
  if (!isNumber && !Object.hasOwn(DISTANCES, schedule)) throw new ArgumentError('cache', 'fast, exact, or a whole number from 2', schedule);
}

/** Whether an evaluation may be left out, `calls` calls after the last one. */
function nearness(schedule: CacheSchedule): (level: NoiseLevel, last: NoiseLevel, calls: number) => boolean {
  if (typeof schedule === 'number') return (_level, _last, calls) => calls < schedule;
  // From pure noise the distance is infinite: the model is asked.
  return (level, last) => level.t === last.t || Math.abs(logRatio(level) - logRatio(last)) < DISTANCES[schedule];
}

/** The polynomial through what is kept. */
function extrapolated(kept: readonly Kept[], place: number): tf.Tensor {
  const weights = kept.map(({ level: { t: own } }) =>
    kept.reduce((weight, { level: { t: other } }) => (other === own ? weight : (weight * (place - other)) / (own - other)), 1),
  );
  return weightedSum(
    weights,
    kept.map(({ prediction }) => prediction),
  );
}
