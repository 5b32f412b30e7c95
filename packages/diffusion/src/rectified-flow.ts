/**
 * Rectified flow (Liu et al. 2023): a straight path from data at t = 0 to noise at t = 1, whose velocity the model learns.
 *
 * The conventions are those of DiT-MoE: the model sees t in [0, 1] unscaled, t is logit-normal in training (Esser et al. 2024),
 * and with learned sigma the first half of the output channels is the velocity.
 */
import { mean, ShapeError } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';

/** `[B]` as `[B, 1, ...]` of the rank of `x`. */
function perSample(t: tf.Tensor, x: tf.Tensor): tf.Tensor {
  if (t.rank !== 1 || t.shape[0] !== x.shape[0]) throw new ShapeError('rectified flow', `t [${x.shape[0]}]`, t.shape);
  return tf.reshape(t, [t.shape[0]!, ...Array<number>(x.rank - 1).fill(1)]);
}

function sameShape(operation: string, expected: tf.Tensor, found: tf.Tensor): void {
  if (!tf.util.arraysEqual(expected.shape, found.shape)) throw new ShapeError(operation, `[${expected.shape}]`, found.shape);
}

/**
 * Times from standard normal numbers: `sigmoid(normal)`.
 * @param normal `[B]`
 * @returns `[B]` in (0, 1)
 */
export function logitNormalTimes(normal: tf.Tensor): tf.Tensor {
  return tf.sigmoid(normal);
}

/**
 * Times from uniform numbers, one per stratum, so that every batch covers all times: `Phi^-1((i + u_i) / B)` through a sigmoid,
 * where Phi is the standard normal distribution.
 * @param uniform `[B]` in [0, 1)
 * @returns `[B]` in (0, 1), rising
 */
export function stratifiedTimes(uniform: tf.Tensor): tf.Tensor {
  const batch = uniform.shape[0]!;
  const strata = tf.tensor1d(Float32Array.from({ length: batch }, (_, i) => i / batch));
  return tf.sigmoid(normalQuantile(tf.add(strata, tf.div(uniform, batch))));
}

/** Inverse of the standard normal distribution (Acklam's rational approximation, relative error below 1.2e-9). */
function normalQuantile(probability: tf.Tensor): tf.Tensor {
  const polynomial = (x: tf.Tensor, coefficients: readonly number[]): tf.Tensor =>
    coefficients.slice(1).reduce<tf.Tensor>((value, c) => tf.add(tf.mul(value, x), c), tf.mul(tf.onesLike(x), coefficients[0]!));
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

/**
 * The point at time t on the path: `(1 - t) x + t noise`.
 * @param x clean samples `[B, ...]`
 * @param noise standard normal, the shape of `x`
 * @param t `[B]` in [0, 1]
 */
export function flowInterpolate(x: tf.Tensor, noise: tf.Tensor, t: tf.Tensor): tf.Tensor {
  sameShape('flowInterpolate', x, noise);
  const time = perSample(t, x);
  return tf.add(tf.mul(tf.sub(1, time), x), tf.mul(time, noise));
}

/**
 * Squared error of the velocity, averaged over each sample.
 * @param prediction velocity, the shape of `x`
 * @returns `[B]`
 */
export function flowLoss(prediction: tf.Tensor, x: tf.Tensor, noise: tf.Tensor): tf.Tensor {
  sameShape('flowLoss', x, prediction);
  const error = tf.squaredDifference(tf.sub(noise, x), prediction);
  return mean(tf.reshape(error, [x.shape[0]!, -1]), -1);
}

/** The clean sample that a velocity points to: `x - t v`. */
export function flowClean(x: tf.Tensor, velocity: tf.Tensor, t: tf.Tensor): tf.Tensor {
  return tf.sub(x, tf.mul(perSample(t, x), velocity));
}
