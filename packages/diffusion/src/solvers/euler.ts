/** Euler's and Heun's methods for the probability flow `dx/dt = velocity`: orders one and two. */
import type { NoiseLevel } from '../paths.js';
import { velocityWeights } from '../predictions.js';
import { type Combination, type LinearStep, pairs } from './linear-steps.js';

function eulerStep(from: NoiseLevel, to: NoiseLevel): Combination {
  const [ofX, ofClean] = velocityWeights(from);
  const h = to.t - from.t;
  return { x: 1 + h * ofX, clean: [h * ofClean] };
}

/** Euler's method, one evaluation per step. */
export function eulerSteps(levels: readonly NoiseLevel[]): LinearStep[] {
  return pairs(levels).map(([from, to]) => ({ from, to, predict: eulerStep(from, to) }));
}

/**
 * Heun's method (explicit trapezoid), two evaluations per step; the step to clean data is Euler's, as models are not trained there.
 */
export function heunSteps(levels: readonly NoiseLevel[]): LinearStep[] {
  return pairs(levels).map(([from, to]) => {
    const predict = eulerStep(from, to);
    return to.sigma === 0 ? { from, to, predict } : { from, to, predict, correct: trapezoid(from, to, predict, velocityWeights) };
  });
}

/**
 * Half the slope at `from` and half the slope at the samples that `predict` gives, for slopes linear in samples and clean samples.
 */
export function trapezoid(
  from: NoiseLevel,
  to: NoiseLevel,
  predict: Combination,
  slope: (level: NoiseLevel) => readonly [number, number],
): Combination {
  const half = (to.t - from.t) / 2;
  const [[x0, c0], [x1, c1]] = [slope(from), slope(to)];
  return {
    x: 1 + half * (x0 + x1 * predict.x),
    clean: [half * c1, half * (c0 + x1 * predict.clean[0])],
  };
}
