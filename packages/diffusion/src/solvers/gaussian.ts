/**
 * Sampling loops of Gaussian diffusion: ancestral (Ho et al. 2020) and DDIM (Song et al. 2021), with gradients of a classifier
 * on request (Dhariwal and Nichol 2021), and DDIM run backwards to encode samples.
 */
import { ArgumentError } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import type { Denoiser } from '../denoiser.js';
import type { PredictionOptions } from '../diffusion-model.js';
import type { GaussianDiffusion } from '../gaussian-diffusion.js';
import { drawNoise, evaluate, type SolverOptions, type SolverRun, type StepNoise } from './solver.js';

/** Noise of the ancestral and implicit samplers. */
export interface GaussianSamplingOptions extends SolverOptions, PredictionOptions {
  /** Of every step but the last; `ddpm` needs it, and `ddim` with a positive `eta`. */
  noise?: StepNoise;
}

/**
 * Ancestral (DDPM) sampling.
 * @param model its output has twice the channels if the variance is learned; it sees training timesteps
 * @param start noise `[B, C, ...]`; not disposed
 * @throws ArgumentError without `noise`
 */
export function ddpm(diffusion: GaussianDiffusion, model: Denoiser, start: tf.Tensor, options: GaussianSamplingOptions): SolverRun {
  const { noise } = options;
  if (noise === undefined) throw new ArgumentError('ddpm: noise', 'a function that gives noise', 'undefined');
  return loop(diffusion, model, start, options, descending(diffusion.steps), (output, x, t, gradient, step) => {
    const reverse = diffusion.reverseStep(output, x, t, options); // mean and clean [B, C, ...]
    const mean = gradient === undefined ? reverse.mean : tf.add(reverse.mean, tf.mul(reverse.variance, gradient));
    if (t === 0) return [mean, reverse.clean];
    return [tf.add(mean, tf.mul(tf.exp(tf.mul(reverse.logVariance, 0.5)), drawNoise(noise, step, x))), reverse.clean];
  });
}

/** How random DDIM is. */
export interface DdimOptions extends GaussianSamplingOptions {
  /** 0 (default): deterministic; 1: as random as ancestral sampling. */
  eta?: number;
}

/**
 * DDIM sampling.
 *
 * Parameters as for {@link ddpm}.
 * @throws ArgumentError if `eta` is negative, or positive without `noise`
 */
export function ddim(diffusion: GaussianDiffusion, model: Denoiser, start: tf.Tensor, options: DdimOptions = {}): SolverRun {
  const { eta = 0, noise } = options;
  if (!(eta >= 0)) throw new ArgumentError('ddim: eta', 'a number >= 0', eta);
  if (eta > 0 && noise === undefined) throw new ArgumentError('ddim: noise', 'a function, as eta is positive', 'undefined');
  return loop(diffusion, model, start, options, descending(diffusion.steps), (output, x, t, gradient, step) => {
    let clean = diffusion.reverseStep(output, x, t, options).clean; // [B, C, ...]
    if (gradient !== undefined) {
      const shift = tf.mul(diffusion.tables.sqrtOneMinusAlphasCumprod[t], gradient);
      clean = diffusion.cleanFromNoise(x, t, tf.sub(diffusion.noiseFromClean(x, t, clean), shift));
    }
    const [alpha, previous] = [diffusion.tables.alphasCumprod[t], diffusion.tables.alphasCumprodPrev[t]];
    const sigma = eta * Math.sqrt((1 - previous) / (1 - alpha)) * Math.sqrt(1 - alpha / previous);
    // More than all the noise cannot be fresh: for eta > 1 the root would be that of a negative number.
    const rest = Math.sqrt(Math.max(0, 1 - previous - sigma * sigma));
    const mean = tf.add(tf.mul(clean, Math.sqrt(previous)), tf.mul(diffusion.noiseFromClean(x, t, clean), rest));
    return [t === 0 || sigma === 0 ? mean : tf.add(mean, tf.mul(sigma, drawNoise(noise!, step, x))), clean];
  });
}

/**
 * DDIM run from clean samples to noise: {@link ddim} with eta 0 leads back approximately, the better the more steps.
 * @param clean `[B, C, ...]`; not disposed
 */
export function ddimInversion(
  diffusion: GaussianDiffusion,
  model: Denoiser,
  clean: tf.Tensor,
  options: GaussianSamplingOptions = {},
): SolverRun {
  return loop(diffusion, model, clean, options, descending(diffusion.steps).reverse(), (output, x, t, gradient) => {
    let predicted = diffusion.reverseStep(output, x, t, options).clean;
    if (gradient !== undefined) {
      const shift = tf.mul(diffusion.tables.sqrtOneMinusAlphasCumprod[t], gradient);
      predicted = diffusion.cleanFromNoise(x, t, tf.sub(diffusion.noiseFromClean(x, t, predicted), shift));
    }
    const next = diffusion.tables.alphasCumprodNext[t];
    const noise = diffusion.noiseFromClean(x, t, predicted);
    return [tf.add(tf.mul(predicted, Math.sqrt(next)), tf.mul(noise, Math.sqrt(1 - next))), predicted];
  });
}

type Update = (output: tf.Tensor, x: tf.Tensor, t: number, gradient: tf.Tensor | undefined, step: number) => [tf.Tensor, tf.Tensor];

async function* loop(
  diffusion: GaussianDiffusion,
  model: Denoiser,
  start: tf.Tensor,
  { signal, gradient }: GaussianSamplingOptions,
  order: readonly number[],
  update: Update,
): SolverRun {
  let x = start.clone();
  let clean: tf.Tensor | undefined;
  /** What the model and the gradient gave in this step. */
  let outputs: tf.Tensor[] = [];
  let returned = false;
  try {
    for (const [step, t] of order.entries()) {
      signal?.throwIfAborted();
      const level = diffusion.level(t);
      outputs = [await evaluate(model, x, level, step + 1)];
      if (gradient !== undefined) outputs.push(await evaluate(gradient, x, level, step + 1));
      // What the model gave may be the result itself, such as the previous step's mean: the state gets a copy of its own.
      const [next, predicted] = tf.tidy(() => update(outputs[0], x, t, outputs[1], step).map((result) => result.clone()));
      tf.dispose([x, ...outputs, ...(clean === undefined ? [] : [clean])]);
      [x, clean, outputs] = [next, predicted, []];
      yield { step: step + 1, steps: order.length, time: level.time, x, clean };
    }
    returned = true;
    return x;
  } finally {
    tf.dispose(outputs);
    clean?.dispose();
    if (!returned) x.dispose();
  }
}

function descending(steps: number): number[] {
  return Array.from({ length: steps }, (_, i) => steps - 1 - i);
}
