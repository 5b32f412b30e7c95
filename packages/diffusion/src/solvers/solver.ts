/**
 * What all solvers share: a solver is an async generator that yields one state per step, so that a caller can show progress,
 * stop early (`break`, `AbortSignal`) or look at the predicted clean sample.
 */
import { ArgumentError, randomNormalBatch, ShapeError } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { type Denoiser, NotFiniteError } from '../denoiser.js';
import type { NoiseLevel } from '../paths.js';

/** After one step. The tensors belong to the solver and live until the next step. */
export interface SolverState {
  /** Steps done, from 1. */
  step: number;
  /** Steps in all; a solver that chooses its steps counts one more than it has done until it is at the end. */
  steps: number;
  /** Time reached, as the model is told it. */
  time: number;
  /** The samples now, `[B, ...]`. */
  x: tf.Tensor;
  /** The clean samples as predicted in this step, the shape of `x`. */
  clean: tf.Tensor;
}

/** What every solver can be told. */
export interface SolverOptions {
  /** Ends the loop with the signal's reason before the next step. */
  signal?: AbortSignal;
}

/** A running solver: yields a state per step and returns the samples, which the caller owns. */
export type SolverRun = AsyncGenerator<SolverState, tf.Tensor, void>;

/** Standard normal numbers of the shape of the samples for step 0, 1, ... in loop order; the solver disposes of them. */
export type StepNoise = (step: number) => tf.Tensor;

/**
 * Noise that depends on the seed, the number of the sample and the step only, not on the batch: for stochastic solvers.
 * @param indices global number of each sample, `[B]`
 * @param shape of one sample
 */
export function stepNoise(seed: number, indices: ArrayLike<number>, shape: readonly number[]): StepNoise {
  return (step) => randomNormalBatch({ seed, purpose: `sample.step-${step}`, indices }, shape);
}

/**
 * Noise of a step.
 * @throws ShapeError unless it has the shape of the samples: it would be broadcast, the same numbers for many
 */
export function drawNoise(noise: StepNoise, step: number, x: tf.Tensor): tf.Tensor {
  const drawn = noise(step);
  if (tf.util.arraysEqual(drawn.shape, x.shape)) return drawn;
  const { shape } = drawn;
  drawn.dispose();
  throw new ShapeError(`noise of step ${step}`, `[${x.shape}]`, shape);
}

/**
 * Asks the model at one level for the whole batch.
 * @throws NotFiniteError if it gives NaN or infinity
 */
export async function evaluate(model: Denoiser, x: tf.Tensor, level: NoiseLevel, step: number): Promise<tf.Tensor> {
  const t = tf.fill([x.shape[0]], level.time); // [B]
  try {
    const prediction = await model(x, t, level); // [B, C, ...] or [B, 2C, ...]
    // The sum is finite unless a number is not, or all are so large that nothing is lost: one number is read, not all.
    const total = tf.tidy(() => tf.sum(prediction));
    const finite = Number.isFinite((await total.data())[0]);
    total.dispose();
    if (!finite) {
      prediction.dispose();
      throw new NotFiniteError(step, level.time);
    }
    return prediction;
  } finally {
    t.dispose();
  }
}

/**
 * Runs a solver to its end and returns the samples.
 * @param onStep sees the state after every step, which lives until it returns; if it throws, the run ends
 */
export async function finish(run: SolverRun, onStep?: (state: SolverState) => void | Promise<void>): Promise<tf.Tensor> {
  for (;;) {
    const { done, value } = await run.next();
    if (done) return value;
    try {
      await onStep?.(value);
    } catch (error) {
      await run.return(undefined as never);
      throw error;
    }
  }
}

/**
 * The states of every n-th step and of the last one, for previews; the run is the same.
 * @throws ArgumentError unless `n` is a positive integer
 */
export async function* every(n: number, run: SolverRun): SolverRun {
  if (!Number.isInteger(n) || n < 1) throw new ArgumentError('every: n', 'a positive integer', n);
  try {
    for (;;) {
      const { done, value } = await run.next();
      if (done) return value;
      if (value.step % n === 0 || value.step === value.steps) yield value;
    }
  } finally {
    await run.return(undefined as never);
  }
}
