/**
 * DPM-Solver++(2M) (Lu et al. 2022b): second order with one evaluation per step, by extrapolating predictions of the clean
 * sample in `log(alpha / sigma)`, provided that the levels are evenly spaced in it (`logSnrTimes`); with uniform times its error
 * falls like Euler's next to clean data, from a smaller start. It serves every path `x = alpha clean + sigma noise`, so flow and Gaussian models alike.
 */
import { ArgumentError } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import type { Denoiser } from '../denoiser.js';
import type { CleanOptions, GaussianDiffusion } from '../gaussian-diffusion.js';
import { checkTimes, evaluate, type SolverOptions, type SolverRun } from './solver.js';

/** A point of a path: `x = alpha clean + sigma noise`, and what the model is told there. */
export interface NoiseLevel {
  time: number;
  alpha: number;
  sigma: number;
}

/** Levels of a rectified flow: `x = (1 - t) clean + t noise`. */
export function flowLevels(times: readonly number[]): NoiseLevel[] {
  checkTimes(times);
  return times.map((time) => ({ time, alpha: 1 - time, sigma: time }));
}

/** Levels of a Gaussian diffusion from its last step to clean data. */
export function gaussianLevels(diffusion: GaussianDiffusion): NoiseLevel[] {
  const { sqrtAlphasCumprod: alphas, sqrtOneMinusAlphasCumprod: sigmas } = diffusion.tables;
  const levels = diffusion.timesteps.map((time, i) => ({ time, alpha: alphas[i]!, sigma: sigmas[i]! }));
  return [...levels.reverse(), { time: 0, alpha: 1, sigma: 0 }];
}

/** Clean samples from a flow model's velocity: `x - t velocity`. */
export function cleanFromVelocity(velocity: Denoiser): Denoiser {
  return async (x, t) => {
    const v = await velocity(x, t);
    const clean = tf.tidy(() => tf.sub(x, tf.mul(tf.reshape(t, [-1, ...Array<number>(x.rank - 1).fill(1)]), v)));
    v.dispose();
    return clean;
  };
}

/** Clean samples from the output of a Gaussian model, which sees training timesteps. */
export function cleanFromOutput(diffusion: GaussianDiffusion, model: Denoiser, options: CleanOptions = {}): Denoiser {
  return async (x, t) => {
    const step = diffusion.timesteps.indexOf((await t.data())[0]!);
    const output = await model(x, t);
    const clean = tf.tidy(() => diffusion.reverseStep(output, x, step, options).clean);
    output.dispose();
    return clean;
  };
}

/** A step wider than the one before by more than this factor does not extrapolate. */
const MAX_GROWTH = 2;

/**
 * DPM-Solver++(2M).
 *
 * @param predictClean see {@link cleanFromVelocity} and {@link cleanFromOutput}
 * @param noise start at `levels[0]`, `[B, ...]`; not disposed
 * @param levels from noise to data, `alpha / sigma` rising; the steps next to pure noise and to clean data are of first order
 * @throws ArgumentError unless there are two levels or more in rising order
 */
export async function* dpmSolver2M(
  predictClean: Denoiser,
  noise: tf.Tensor,
  levels: readonly NoiseLevel[],
  { signal }: SolverOptions = {},
): SolverRun {
  const logRatio = ({ alpha, sigma }: NoiseLevel): number => Math.log(alpha) - Math.log(sigma);
  if (
    levels.length < 2 ||
    levels.some((level, i) => Number.isNaN(logRatio(level)) || (i > 0 && logRatio(level) <= logRatio(levels[i - 1]!)))
  )
    throw new ArgumentError('dpmSolver2M: levels', 'at least two levels with rising alpha / sigma', `${levels.length} levels`);
  const steps = levels.length - 1;
  let x = noise.clone();
  let clean: tf.Tensor | undefined;
  let lastWidth = Number.POSITIVE_INFINITY;
  let returned = false;
  try {
    for (let i = 0; i < steps; i++) {
      signal?.throwIfAborted();
      const [from, to] = [levels[i]!, levels[i + 1]!];
      const predicted = await evaluate(predictClean, x, from.time, i + 1);
      const width = logRatio(to) - logRatio(from);
      // First order next to pure noise and to clean data, where the width is infinite, and where it grows so fast that the line
      // through the last two predictions would overshoot.
      const weight = Number.isFinite(lastWidth) && width <= MAX_GROWTH * lastWidth ? width / (2 * lastWidth) : 0;
      const [previousX, previousClean] = [x, clean];
      x = tf.tidy(() => {
        const extrapolated = weight === 0 ? predicted : tf.sub(tf.mul(predicted, 1 + weight), tf.mul(previousClean!, weight));
        return tf.add(tf.mul(previousX, to.sigma / from.sigma), tf.mul(extrapolated, -to.alpha * Math.expm1(-width)));
      });
      clean = predicted;
      lastWidth = width;
      previousX.dispose();
      previousClean?.dispose();
      yield { step: i + 1, steps, time: to.time, x, clean };
    }
    returned = true;
    return x;
  } finally {
    clean?.dispose();
    if (!returned) x.dispose();
  }
}
