/** Euler's and Heun's methods for flow models: first and second order in the step. */
import * as tf from '@tensorflow/tfjs-core';
import type { Denoiser } from '../denoiser.js';
import { checkTimes, evaluate, type SolverOptions, type SolverRun } from './solver.js';

/**
 * Euler's method for `dx/dt = velocity(x, t)`, one evaluation per step.
 *
 * @param velocity a flow model
 * @param noise start at `times[0]`, `[B, ...]`; not disposed
 * @param times strictly falling, from 1 to 0 (see `uniformTimes`)
 */
export function euler(velocity: Denoiser, noise: tf.Tensor, times: readonly number[], options: SolverOptions = {}): SolverRun {
  return integrate(velocity, noise, times, options, false);
}

/**
 * Heun's method (explicit trapezoid): two evaluations per step; the last step to t = 0 is an Euler step, as the model is not
 * trained there.
 *
 * Parameters as for {@link euler}.
 */
export function heun(velocity: Denoiser, noise: tf.Tensor, times: readonly number[], options: SolverOptions = {}): SolverRun {
  return integrate(velocity, noise, times, options, true);
}

async function* integrate(
  velocity: Denoiser,
  noise: tf.Tensor,
  times: readonly number[],
  { signal }: SolverOptions,
  secondOrder: boolean,
): SolverRun {
  checkTimes(times);
  const steps = times.length - 1;
  let x = noise.clone();
  let clean: tf.Tensor | undefined;
  let returned = false;
  try {
    for (let i = 0; i < steps; i++) {
      signal?.throwIfAborted();
      const [t, next] = [times[i]!, times[i + 1]!];
      const v = await evaluate(velocity, x, t, i + 1);
      let slope = v;
      if (secondOrder && next > 0) {
        const trial = tf.tidy(() => tf.add(x, tf.mul(v, next - t)));
        const there = await evaluate(velocity, trial, next, i + 1);
        slope = tf.tidy(() => tf.mul(tf.add(v, there), 0.5));
        tf.dispose([trial, there]);
      }
      const previous = [x, clean];
      clean = tf.tidy(() => tf.sub(x, tf.mul(v, t)));
      x = tf.tidy(() => tf.add(x, tf.mul(slope, next - t)));
      tf.dispose([...previous.filter((tensor) => tensor !== undefined), v, slope]);
      yield { step: i + 1, steps, time: next, x, clean };
    }
    returned = true;
    return x;
  } finally {
    clean?.dispose();
    if (!returned) x.dispose();
  }
}
