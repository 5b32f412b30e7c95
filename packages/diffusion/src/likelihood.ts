/** Likelihoods of normal distributions, in nats and element by element. */
import * as tf from '@tensorflow/tfjs-core';

/** KL divergence of N(mean1, exp(logVariance1)) from N(mean2, exp(logVariance2)). */
export function normalKl(mean1: tf.Tensor, logVariance1: tf.Tensor, mean2: tf.Tensor, logVariance2: tf.Tensor): tf.Tensor {
  const ratio = tf.sub(logVariance1, logVariance2);
  // expm1 keeps the digits where the variances nearly agree and `exp(ratio) - 1 - ratio` would cancel.
  const spread = tf.sub(tf.expm1(ratio), ratio);
  return tf.mul(tf.add(spread, tf.mul(tf.squaredDifference(mean1, mean2), tf.exp(tf.neg(logVariance2)))), 0.5);
}

/**
 * Log likelihood of 8-bit values scaled to [-1, 1] under a normal distribution cut into bins of 2/255; the first and last bin
 * are open. The distribution function is Page's tanh approximation, probabilities are at least 1e-12, as in the DDPM code.
 */
export function discretizedLogLikelihood(x: tf.Tensor, mean: tf.Tensor, logScale: tf.Tensor): tf.Tensor {
  const centred = tf.sub(x, mean);
  const inverse = tf.exp(tf.neg(logScale));
  const below = (offset: number) => normalDistribution(tf.mul(inverse, tf.add(centred, offset)));
  const [upper, lower] = [below(1 / 255), below(-1 / 255)];
  const log = (p: tf.Tensor) => tf.log(tf.maximum(p, 1e-12));
  const inner = tf.where(tf.greater(x, 0.999), log(tf.sub(1, lower)), log(tf.sub(upper, lower)));
  return tf.where(tf.less(x, -0.999), log(upper), inner);
}

function normalDistribution(x: tf.Tensor): tf.Tensor {
  const cubic = tf.add(x, tf.mul(0.044715, tf.mul(x, tf.square(x))));
  return tf.mul(0.5, tf.add(1, tf.tanh(tf.mul(Math.sqrt(2 / Math.PI), cubic))));
}
