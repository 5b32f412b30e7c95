/**
 * What all solvers share: a solver is an async generator that yields one state per step, so that a caller can show progress,
 * stop early (`break`, `AbortSignal`) or look at the predicted clean sample.
 */
import { ArgumentError } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { type Denoiser, NotFiniteError } from '../denoiser.js';

/** After one step. The tensors belong to the solver and live until the next step. */
export interface SolverState {
  /** Steps done, from 1. */
  step: number;
  /** Steps in all. */
  steps: number;
  /** Time reached. */
  time: number;
  /** The samples now, `[B, ...]`. */
  x: tf.Tensor;
  /** The clean samples as predicted in this step, the shape of `x`. */
  clean: tf.Tensor;
}

export interface SolverOptions {
  /** Ends the loop with the signal's reason before the next step. */
  signal?: AbortSignal;
}

/** A running solver: yields a state per step and returns the samples, which the caller owns. */
export type SolverRun = AsyncGenerator<SolverState, tf.Tensor, void>;

/**
 * Equally spaced times from 1 (noise) down to 0 (data), `steps + 1` of them.
 * @throws ArgumentError if `steps` is not a positive integer
 */
export function uniformTimes(steps: number): number[] {
  if (!Number.isInteger(steps) || steps < 1) throw new ArgumentError('uniformTimes: steps', 'a positive integer', steps);
  return Array.from({ length: steps + 1 }, (_, i) => 1 - i / steps);
}

/**
 * Times of a rectified flow that are equally spaced in `log((1 - t) / t)`, the grid on which `dpmSolver2M` is of second
 * order; append 0 to end with the predicted clean sample.
 * @param first the noisiest time (default 0.999), in (last, 1)
 * @param last the cleanest time (default 0.001), in (0, first)
 * @throws ArgumentError if `steps` is not a positive integer or the ends are not in order
 */
export function logSnrTimes(steps: number, first = 0.999, last = 0.001): number[] {
  if (!Number.isInteger(steps) || steps < 1) throw new ArgumentError('logSnrTimes: steps', 'a positive integer', steps);
  if (!(0 < last && last < first && first < 1)) throw new ArgumentError('logSnrTimes: first, last', '0 < last < first < 1', [first, last]);
  const logit = (t: number): number => Math.log(t / (1 - t));
  return Array.from({ length: steps + 1 }, (_, i) => 1 / (1 + Math.exp(-(logit(first) + (i / steps) * (logit(last) - logit(first))))));
}

/** Checks that there are at least two times and that they fall. */
export function checkTimes(times: readonly number[]): void {
  if (times.length < 2 || times.some((t, i) => !Number.isFinite(t) || (i > 0 && t >= times[i - 1]!)))
    throw new ArgumentError('solver: times', 'at least two finite, strictly falling times', `[${times.slice(0, 8).join(', ')}]`);
}

/**
 * Asks the model at one time for the whole batch.
 * @throws NotFiniteError if it gives NaN or infinity
 */
export async function evaluate(model: Denoiser, x: tf.Tensor, time: number, step: number): Promise<tf.Tensor> {
  const t = tf.fill([x.shape[0]!], time);
  const prediction = await model(x, t);
  // 0 times a finite number is 0, times NaN or infinity NaN: one number is read instead of the whole tensor.
  const total = tf.tidy(() => tf.sum(tf.mul(prediction, 0)));
  const finite = Number.isFinite((await total.data())[0]);
  tf.dispose([t, total]);
  if (!finite) {
    prediction.dispose();
    throw new NotFiniteError(step, time);
  }
  return prediction;
}

/** Runs a solver to its end and returns the samples. */
export async function finish(run: SolverRun, onStep?: (state: SolverState) => void): Promise<tf.Tensor> {
  for (;;) {
    const { done, value } = await run.next();
    if (done) return value;
    onStep?.(value);
  }
}
