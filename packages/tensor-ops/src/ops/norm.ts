/**
 * Normalisations of the last axis, with one hand-written gradient each (composed from tfjs ops a layer norm is 56 kernels
 * forward and backward).
 */
import * as tf from '@tensorflow/tfjs-core';

/** Variance floor of DiT's layer norms. */
const EPSILON = 1e-6;

export interface NormOptions {
  /** Multiplies the normalised value, `[D]` (default: none, as DiT's blocks). */
  scale?: tf.Tensor;
  /** Added after scaling, `[D]` (default: none). */
  bias?: tf.Tensor;
  /** Added to the variance (default 1e-6, DiT). */
  epsilon?: number;
}

/** Normalised value and reciprocal standard deviation over the last axis. */
function standardize(x: tf.Tensor, epsilon: number): { normal: tf.Tensor; reciprocal: tf.Tensor } {
  const centred = tf.sub(x, tf.mean(x, -1, true));
  const reciprocal = tf.rsqrt(tf.add(tf.mean(tf.square(centred), -1, true), epsilon));
  return { normal: tf.mul(centred, reciprocal), reciprocal };
}

/** Gradient of {@link standardize}'s `normal` with respect to its input. */
function standardizeGradient(dNormal: tf.Tensor, normal: tf.Tensor, reciprocal: tf.Tensor): tf.Tensor {
  const projected = tf.mul(normal, tf.mean(tf.mul(dNormal, normal), -1, true));
  return tf.mul(reciprocal, tf.sub(tf.sub(dNormal, tf.mean(dNormal, -1, true)), projected));
}

const leadingAxes = (x: tf.Tensor): number[] => Array.from({ length: x.rank - 1 }, (_, i) => i);

/**
 * Layer normalisation over the last axis (Ba et al. 2016), with or without affine part.
 *
 * @param x `[..., D]`
 * @returns `[..., D]`
 */
export function layerNorm(x: tf.Tensor, options: NormOptions = {}): tf.Tensor {
  const epsilon = options.epsilon ?? EPSILON;
  const normal = tf.customGrad((input, save) => {
    const { normal, reciprocal } = standardize(input as tf.Tensor, epsilon);
    (save as tf.GradSaveFunc)([normal, reciprocal]);
    return { value: normal, gradFunc: (dy: tf.Tensor, saved: tf.Tensor[]) => standardizeGradient(dy, saved[0], saved[1]) };
  })(x);
  return affine(normal, options.scale, options.bias);
}

/**
 * Root-mean-square normalisation over the last axis (Zhang and Sennrich 2019).
 *
 * @param x `[..., D]`
 * @param scale `[D]`
 * @param epsilon added to the mean square (default 1e-6)
 */
export function rmsNorm(x: tf.Tensor, scale?: tf.Tensor, epsilon = EPSILON): tf.Tensor {
  const normal = tf.customGrad((input, save) => {
    const reciprocal = tf.rsqrt(tf.add(tf.mean(tf.square(input as tf.Tensor), -1, true), epsilon));
    const value = tf.mul(input as tf.Tensor, reciprocal);
    (save as tf.GradSaveFunc)([value, reciprocal]);
    const gradFunc = (dy: tf.Tensor, [n, r]: tf.Tensor[]) => tf.mul(r, tf.sub(dy, tf.mul(n, tf.mean(tf.mul(dy, n), -1, true))));
    return { value, gradFunc };
  })(x);
  return affine(normal, scale, undefined);
}

function affine(x: tf.Tensor, scale: tf.Tensor | undefined, bias: tf.Tensor | undefined): tf.Tensor {
  if (scale !== undefined) {
    const weight = scale;
    x = tf.customGrad((a, s, save) => {
      (save as tf.GradSaveFunc)([a as tf.Tensor, s as tf.Tensor]);
      const gradFunc = (dy: tf.Tensor, [sa, ss]: tf.Tensor[]) => [tf.mul(dy, ss), tf.sum(tf.mul(dy, sa), leadingAxes(dy))];
      return { value: tf.mul(a as tf.Tensor, s as tf.Tensor), gradFunc };
    })(x, weight);
  }
  return bias === undefined ? x : tf.add(x, bias);
}

/**
 * Adaptive layer norm of DiT (section 3.2, adaLN): `layerNorm(x) * (1 + scale) + shift` with one shift and scale per sample.
 *
 * @param x `[B, T, D]`
 * @param shift `[B, D]`
 * @param scale `[B, D]`
 * @returns `[B, T, D]`
 */
export function layerNormModulate(x: tf.Tensor, shift: tf.Tensor, scale: tf.Tensor, epsilon = EPSILON): tf.Tensor {
  return tf.customGrad((input, b, s, save) => {
    const { normal, reciprocal } = standardize(input as tf.Tensor, epsilon);
    const factor = tf.expandDims(tf.add(s as tf.Tensor, 1), 1); // [B, 1, D]
    (save as tf.GradSaveFunc)([normal, reciprocal, factor]);
    const value = tf.add(tf.mul(normal, factor), tf.expandDims(b as tf.Tensor, 1));
    const gradFunc = (dy: tf.Tensor, saved: tf.Tensor[]) => {
      const [n, r, f] = saved as [tf.Tensor, tf.Tensor, tf.Tensor];
      return [standardizeGradient(tf.mul(dy, f), n, r), tf.sum(dy, 1), tf.sum(tf.mul(dy, n), 1)];
    };
    return { value, gradFunc };
  })(x, shift, scale);
}

/**
 * `x * (1 + scale) + shift`, one shift and scale per sample.
 *
 * @param x `[B, T, D]`
 * @param shift `[B, D]`
 * @param scale `[B, D]`
 */
export function modulate(x: tf.Tensor, shift: tf.Tensor, scale: tf.Tensor): tf.Tensor {
  return tf.customGrad((input, b, s, save) => {
    const factor = tf.expandDims(tf.add(s as tf.Tensor, 1), 1);
    (save as tf.GradSaveFunc)([input as tf.Tensor, factor]);
    const value = tf.add(tf.mul(input as tf.Tensor, factor), tf.expandDims(b as tf.Tensor, 1));
    const gradFunc = (dy: tf.Tensor, [sx, f]: tf.Tensor[]) => [tf.mul(dy, f), tf.sum(dy, 1), tf.sum(tf.mul(dy, sx), 1)];
    return { value, gradFunc };
  })(x, shift, scale);
}
