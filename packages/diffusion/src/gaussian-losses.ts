/**
 * Training losses of Gaussian diffusion, per sample: squared error, variational bound, or both for learned variances
 * (Nichol and Dhariwal 2021, section 3.1), and min-SNR weights (Hang et al. 2023).
 */
import { stopGradient } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import type { CleanOptions, GaussianDiffusion, Timestep } from './gaussian-diffusion.js';
import { discretizedLogLikelihood, normalKl } from './likelihood.js';
import { meanPerSample } from './per-sample.js';
import { checkWord } from './words.js';

/** `mse` is DiT's; `rescaled-mse` weighs the variational term by steps / 1000; `kl` is the bound itself in bits per dimension, `rescaled-kl` times the steps. */
export type LossType = 'mse' | 'rescaled-mse' | 'kl' | 'rescaled-kl';
export const LOSS_TYPES: readonly LossType[] = ['mse', 'rescaled-mse', 'kl', 'rescaled-kl'];

/** Each `[B]`. */
export interface DiffusionLosses {
  loss: tf.Tensor;
  /** Squared error; absent for the `kl` losses. */
  mse?: tf.Tensor;
  /** Variational term with the mean held fixed; only with learned variance and squared error. */
  vb?: tf.Tensor;
}

/**
 * Losses of a model's output for noisy samples.
 * @param output for `x` at `diffusion.modelTimes(t)`
 * @param clean `[B, C, ...]`
 * @param t int32 `[B]`
 * @param noise the noise in `x = diffusion.addNoise(clean, t, noise)`
 * @param type default `mse`
 */
export function diffusionLosses(
  diffusion: GaussianDiffusion,
  output: tf.Tensor,
  clean: tf.Tensor,
  t: tf.Tensor,
  noise: tf.Tensor,
  type: LossType = 'mse',
): DiffusionLosses {
  checkWord('diffusionLosses: type', type, LOSS_TYPES);
  const x = diffusion.addNoise(clean, t, noise); // [B, C, ...]
  if (type === 'kl' || type === 'rescaled-kl') {
    const { bits } = variationalTerm(diffusion, output, clean, x, t);
    return { loss: type === 'kl' ? bits : tf.mul(bits, diffusion.steps) };
  }
  const { prediction, variance } = diffusion.split(output, x);
  const mse = meanPerSample(tf.squaredDifference(diffusion.target(clean, x, t, noise), prediction)); // [B]
  if (variance === undefined) return { loss: mse, mse };
  // The bound teaches the variance only: the mean learns from the squared error.
  const frozen = tf.concat([stopGradient(prediction), variance], 1); // [B, 2C, ...]
  const { bits } = variationalTerm(diffusion, frozen, clean, x, t);
  const vb = type === 'rescaled-mse' ? tf.mul(bits, diffusion.steps / 1000) : bits; // [B]
  return { loss: tf.add(mse, vb), mse, vb };
}

/**
 * One term of the variational bound: KL of the reverse step against the posterior, at t = 0 the likelihood of 8-bit values.
 * @returns bits per dimension `[B]`, and the predicted clean samples
 */
export function variationalTerm(
  diffusion: GaussianDiffusion,
  output: tf.Tensor,
  clean: tf.Tensor,
  x: tf.Tensor,
  t: Timestep,
  options: CleanOptions = {},
): { bits: tf.Tensor; clean: tf.Tensor } {
  const exact = diffusion.posterior(clean, x, t);
  const model = diffusion.reverseStep(output, x, t, options);
  const toBits = (nats: tf.Tensor) => tf.div(meanPerSample(nats), Math.LN2);
  const likelihood = () => toBits(tf.neg(discretizedLogLikelihood(clean, model.mean, tf.mul(model.logVariance, 0.5))));
  const divergence = () => toBits(normalKl(exact.mean, exact.logVariance, model.mean, model.logVariance));
  if (typeof t === 'number') return { bits: t === 0 ? likelihood() : divergence(), clean: model.clean };
  return { bits: tf.where(tf.equal(t, 0), likelihood(), divergence()), clean: model.clean }; // [B], [B, C, ...]
}

/** KL of q(x_T | x_0) from the standard normal distribution, in bits per dimension `[B]`. */
export function priorBits(diffusion: GaussianDiffusion, clean: tf.Tensor): tf.Tensor {
  const { mean: m, logVariance } = diffusion.marginal(clean, diffusion.steps - 1);
  return tf.div(meanPerSample(normalKl(m, logVariance, tf.scalar(0), tf.scalar(0))), Math.LN2);
}

/**
 * Min-SNR weights of the squared error at every step, float64 `[steps]`: `min(snr, gamma)` in terms of the clean sample,
 * converted to what the model predicts.
 * @param gamma default 5, the paper's
 */
export function minSnrWeights(diffusion: GaussianDiffusion, gamma = 5): Float64Array {
  const { alphasCumprod } = diffusion.tables;
  return alphasCumprod.map((a) => {
    const snr = a / (1 - a);
    const limited = Math.min(snr, gamma);
    return diffusion.prediction === 'noise' ? limited / snr : diffusion.prediction === 'v' ? limited / (snr + 1) : limited;
  });
}
