/**
 * Solvers with given levels: all of them are linear in the samples, the predictions of clean data and fresh noise, so a solver
 * is a list of weights, computed in float64 on the host, and this loop runs it.
 */
import { ArgumentError } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { type DiffusionModel, type PredictionOptions, predictClean } from '../diffusion-model.js';
import type { NoiseLevel } from '../paths.js';
import { weightedSum } from '../weighted-sum.js';
import { drawNoise, type SolverOptions, type SolverRun, type StepNoise } from './solver.js';

/** Weights of the samples, of predictions of clean data (newest first), and of the step's noise. */
export interface Combination {
  x: number;
  clean: readonly number[];
  noise?: number;
}

/** One step of a solver. */
export interface LinearStep {
  from: NoiseLevel;
  to: NoiseLevel;
  /** Noise added to the samples before the model sees them. */
  perturb?: number;
  /** The samples at `to` from the predictions at `from` and before. */
  predict: Combination;
  /** Replaces them after the model has been asked at `to`: its predictions are those of `predict` after that one. */
  correct?: Combination;
  /** Whether the evaluation for `correct` also serves the next step, instead of asking again for the corrected samples. */
  reuse?: boolean;
}

/** How a list of steps is run. */
export interface RunOptions extends SolverOptions, PredictionOptions {
  /** Needed by steps with noise. */
  noise?: StepNoise;
}

/**
 * Runs the steps.
 * @param start noise `[B, ...]` at the first level; not disposed
 */
export async function* runSteps(
  model: DiffusionModel,
  start: tf.Tensor,
  steps: readonly LinearStep[],
  options: RunOptions = {},
): SolverRun {
  if (options.noise === undefined && steps.some(isRandom))
    throw new ArgumentError('solver: noise', 'a function that gives noise, as the solver is stochastic', 'undefined');
  const depth = Math.max(...steps.map((step) => step.predict.clean.length));
  /** Predictions, newest first; `current`: whether the newest is of the samples as they are. */
  const history: tf.Tensor[] = [];
  let current = false;
  let x = start.clone();
  let noise: tf.Tensor | undefined;
  let returned = false;
  const move = (next: tf.Tensor) => {
    x.dispose();
    x = next;
  };
  try {
    for (const [i, { from, to, perturb = 0, predict, correct, reuse = false }] of steps.entries()) {
      options.signal?.throwIfAborted();
      if (isRandom(steps[i])) noise = drawNoise(options.noise!, i, x);
      if (perturb !== 0) move(weightedSum([1, perturb], [x, noise!]));
      if (!current) history.unshift(await predictClean(model, x, from, i + 1, options));
      let next = combine(predict, x, history, noise);
      current = correct !== undefined && reuse;
      if (correct !== undefined) {
        let there: tf.Tensor | undefined;
        try {
          there = await predictClean(model, next, to, i + 1, options);
        } finally {
          next.dispose();
        }
        next = combine(correct, x, [there, ...history], noise);
        if (reuse) history.unshift(there);
        else there.dispose();
      }
      move(next);
      noise?.dispose();
      noise = undefined;
      while (history.length > depth) history.pop()!.dispose();
      yield { step: i + 1, steps: steps.length, time: to.time, x, clean: history[0] };
      // The next step starts with an evaluation of its own.
      if (!current) while (history.length >= depth) history.pop()!.dispose();
    }
    returned = true;
    return x;
  } finally {
    tf.dispose(history);
    noise?.dispose();
    if (!returned) x.dispose();
  }
}

function isRandom({ perturb, predict, correct }: LinearStep): boolean {
  return Boolean(perturb || predict.noise || correct?.noise);
}

function combine(weights: Combination, x: tf.Tensor, clean: readonly tf.Tensor[], noise: tf.Tensor | undefined): tf.Tensor {
  const terms = [x, ...clean.slice(0, weights.clean.length)];
  if (weights.noise) return weightedSum([weights.x, ...weights.clean, weights.noise], [...terms, noise!]);
  return weightedSum([weights.x, ...weights.clean], terms);
}

/** Levels that follow each other. */
export function pairs(levels: readonly NoiseLevel[]): [NoiseLevel, NoiseLevel][] {
  return levels.slice(1).map((to, i) => [levels[i], to]);
}
