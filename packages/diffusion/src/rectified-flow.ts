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
