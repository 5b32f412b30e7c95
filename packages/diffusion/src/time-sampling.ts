/** Times to train a flow model at, from random numbers that the caller draws: so a step can be compiled and repeated. */
import { ArgumentError } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { checkWord } from './words.js';

/** How times are spread in training. */
export interface TimeSampling {
  /** `logit-normal` (default; Esser et al. 2024, section 3.1) prefers the middle of the path. */
  distribution?: 'logit-normal' | 'uniform';
  /** Of the logit-normal distribution (default 0). */
  mean?: number;
  /** Of the logit-normal distribution (default 1). */
  deviation?: number;
  /** One time per stratum of equal probability in every batch: smaller variance of the loss (default false). */
  stratified?: boolean;
  /** Above 1 more of the times are noisy, see `shiftTimes` (default 1). */
  shift?: number;
}

/** @throws ArgumentError on an unknown distribution, a mean that is not finite, or a deviation or shift that is not positive */
export function checkTimeSampling({ distribution = 'logit-normal', mean = 0, deviation = 1, shift = 1 }: TimeSampling): void {
  checkWord('times: distribution', distribution, ['logit-normal', 'uniform']);
  if (!Number.isFinite(mean)) throw new ArgumentError('times: mean', 'a finite number', mean);
  for (const [name, value] of Object.entries({ deviation, shift }))
    if (!(value > 0 && value < Number.POSITIVE_INFINITY)) throw new ArgumentError(`times: ${name}`, 'a positive number', value);
}

/** Whether `sampleTimes` wants standard normal numbers rather than uniform ones in [0, 1). */
export function wantsNormal({ distribution = 'logit-normal', stratified = false }: TimeSampling): boolean {
  return distribution === 'logit-normal' && !stratified;
}

/**
 * Times in (0, 1), 1 noise, from random numbers.
 * @param random `[B]`, see {@link wantsNormal}
 */
export function sampleTimes(random: tf.Tensor, options: TimeSampling = {}): tf.Tensor {
  const { distribution = 'logit-normal', mean = 0, deviation = 1, stratified = false, shift = 1 } = options;
  const uniform = stratified ? strata(random) : random;
  if (distribution === 'uniform') return shiftTimes(uniform, shift);
  const normal = stratified ? normalQuantile(uniform) : random;
  return shiftTimes(tf.sigmoid(deviation === 1 && mean === 0 ? normal : tf.add(tf.mul(normal, deviation), mean)), shift);
}

/** `(i + u_i) / B`: one uniform number in each of B equal parts. */
function strata(uniform: tf.Tensor): tf.Tensor {
  const batch = uniform.shape[0];
  const parts = tf.tensor1d(Float32Array.from({ length: batch }, (_, i) => i / batch)); // [B]
  return tf.add(parts, tf.div(uniform, batch));
}

/** `shift t / (1 + (shift - 1) t)` (Esser et al. 2024, equation 23): noisier times for larger images. */
export function shiftTimes(t: tf.Tensor, shift: number): tf.Tensor {
  return shift === 1 ? t : tf.div(tf.mul(t, shift), tf.add(tf.mul(t, shift - 1), 1));
}

/** Inverse of the standard normal distribution (Acklam's rational approximation, relative error below 1.2e-9). */
function normalQuantile(probability: tf.Tensor): tf.Tensor {
  const polynomial = (x: tf.Tensor, coefficients: readonly number[]): tf.Tensor =>
    coefficients.slice(1).reduce<tf.Tensor>((value, c) => tf.add(tf.mul(value, x), c), tf.mul(tf.onesLike(x), coefficients[0]));
  const numerator = [
    -3.969683028665376e1, 2.209460984245205e2, -2.759285104469687e2, 1.38357751867269e2, -3.066479806614716e1, 2.506628277459239,
  ];
  const denominator = [-5.447609879822406e1, 1.615858368580409e2, -1.556989798598866e2, 6.680131188771972e1, -1.328068155288572e1, 1];
  const tailNumerator = [
    -7.784894002430293e-3, -3.223964580411365e-1, -2.400758277161838, -2.549732539343734, 4.374664141464968, 2.938163982698783,
  ];
  const tailDenominator = [7.784695709041462e-3, 3.224671290700398e-1, 2.445134137142996, 3.754408661907416, 1];
  const centred = tf.sub(probability, 0.5);
  const square = tf.square(centred);
  const centre = tf.div(tf.mul(polynomial(square, numerator), centred), polynomial(square, denominator));
  const smaller = tf.maximum(tf.minimum(probability, tf.sub(1, probability)), 1e-30);
  const root = tf.sqrt(tf.mul(tf.log(smaller), -2));
  const tail = tf.mul(tf.neg(tf.sign(centred)), tf.div(polynomial(root, tailNumerator), polynomial(root, tailDenominator)));
  return tf.where(tf.less(tf.abs(centred), 0.47575), centre, tail);
}
