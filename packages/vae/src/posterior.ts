/** The diagonal normal distribution of latents that an encoder describes. */
import * as tf from '@tensorflow/tfjs-core';

/** Bounds of the log variance, so that neither the variance nor its inverse overflows. */
const [LEAST_LOG_VARIANCE, MOST_LOG_VARIANCE] = [-30, 20];

/** All `[B, C, h, w]`. */
export interface Posterior {
  /** Also the mode. */
  mean: tf.Tensor;
  /** Clamped to [-30, 20]. */
  logVariance: tf.Tensor;
}

/** Splits moments `[B, 2C, h, w]` (mean, then log variance). */
export function posteriorOf(moments: tf.Tensor): Posterior {
  const [mean, logVariance] = tf.split(moments, 2, 1) as [tf.Tensor, tf.Tensor];
  return { mean, logVariance: tf.clipByValue(logVariance, LEAST_LOG_VARIANCE, MOST_LOG_VARIANCE) };
}

/** Standard deviation. */
export const deviation = ({ logVariance }: Posterior): tf.Tensor => tf.exp(tf.mul(logVariance, 0.5));

/** A sample from standard normal `noise` of the mean's shape. */
export const samplePosterior = (posterior: Posterior, noise: tf.Tensor): tf.Tensor =>
  tf.add(posterior.mean, tf.mul(deviation(posterior), noise));

/**
 * The same for one image on the host, in double precision: for moments of a file, whose samples then have the same bits whatever backend
 * trains on them, and need no way to the device and back.
 *
 * @param moments `[2C, h, w]`
 * @param noise standard normal, `[C, h, w]`
 */
export function samplePosteriorOnHost(moments: Float32Array, noise: Float32Array): Float64Array {
  const length = noise.length;
  return Float64Array.from(noise, (z, i) => {
    const logVariance = Math.min(MOST_LOG_VARIANCE, Math.max(LEAST_LOG_VARIANCE, moments[length + i]));
    return moments[i] + Math.exp(0.5 * logVariance) * z;
  });
}

/** KL divergence from `other` (default: standard normal), summed over each image: `[B]`, nats. */
export function posteriorKl({ mean, logVariance }: Posterior, other?: Posterior): tf.Tensor {
  if (other === undefined) return perImage(tf.sub(tf.add(tf.square(mean), tf.expm1(logVariance)), logVariance));
  const ratio = tf.sub(logVariance, other.logVariance);
  const distance = tf.mul(tf.squaredDifference(mean, other.mean), tf.exp(tf.neg(other.logVariance)));
  return perImage(tf.sub(tf.add(distance, tf.expm1(ratio)), ratio));
}

/** Negative log likelihood of a sample, summed over each image: `[B]`, nats. */
export function posteriorNll({ mean, logVariance }: Posterior, sample: tf.Tensor): tf.Tensor {
  const distance = tf.mul(tf.squaredDifference(sample, mean), tf.exp(tf.neg(logVariance)));
  return perImage(tf.add(tf.add(distance, logVariance), Math.log(2 * Math.PI)));
}

const perImage = (x: tf.Tensor): tf.Tensor => tf.mul(0.5, tf.sum(tf.reshape(x, [x.shape[0], -1]), 1));
