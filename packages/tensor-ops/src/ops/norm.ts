/**
 * Normalisations of the last axis, with one hand-written gradient each (composed from tfjs ops a layer norm is 56 kernels
 * forward and backward).
 */
import * as tf from '@tensorflow/tfjs-core';
import { customGradient } from './custom-gradient.js';

/** Variance floor of DiT's layer norms. */
const EPSILON = 1e-6;

/** Scale and shift of a norm. */
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
  const normal = customGradient(
    [x],
    ([x]) => {
      const { normal, reciprocal } = standardize(x, epsilon);
      return { value: normal, saved: [normal, reciprocal] };
    },
    (dy, [normal, reciprocal]) => [standardizeGradient(dy, normal, reciprocal)],
  );
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
  const normal = customGradient(
    [x],
    ([x]) => {
      const reciprocal = tf.rsqrt(tf.add(tf.mean(tf.square(x), -1, true), epsilon));
      const value = tf.mul(x, reciprocal);
      return { value, saved: [value, reciprocal] };
    },
    (dy, [n, r]) => [tf.mul(r, tf.sub(dy, tf.mul(n, tf.mean(tf.mul(dy, n), -1, true))))],
  );
  return affine(normal, scale, undefined);
}

function affine(x: tf.Tensor, scale: tf.Tensor | undefined, bias: tf.Tensor | undefined): tf.Tensor {
  if (scale !== undefined) {
    x = customGradient(
      [x, scale],
      ([x, scale]) => ({ value: tf.mul(x, scale), saved: [x, scale] }),
      (dy, [x, scale]) => [tf.mul(dy, scale), tf.sum(tf.mul(dy, x), leadingAxes(dy))],
    );
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
  return customGradient(
    [x, shift, scale],
    ([x, shift, scale]) => {
      const { normal, reciprocal } = standardize(x, epsilon); // [B, T, D], [B, T, 1]
      const factor = tf.expandDims(tf.add(scale, 1), 1); // [B, 1, D]
      return { value: tf.add(tf.mul(normal, factor), tf.expandDims(shift, 1)), saved: [normal, reciprocal, factor] };
    },
    (dy, [normal, reciprocal, factor]) => [
      standardizeGradient(tf.mul(dy, factor), normal, reciprocal),
      tf.sum(dy, 1),
      tf.sum(tf.mul(dy, normal), 1),
    ],
  );
}

/**
 * `x * (1 + scale) + shift`, one shift and scale per sample.
 *
 * @param x `[B, T, D]`
 * @param shift `[B, D]`
 * @param scale `[B, D]`
 */
export function modulate(x: tf.Tensor, shift: tf.Tensor, scale: tf.Tensor): tf.Tensor {
  return customGradient(
    [x, shift, scale],
    ([x, shift, scale]) => {
      const factor = tf.expandDims(tf.add(scale, 1), 1); // [B, 1, D]
      return { value: tf.add(tf.mul(x, factor), tf.expandDims(shift, 1)), saved: [x, factor] };
    },
    (dy, [x, factor]) => [tf.mul(dy, factor), tf.sum(dy, 1), tf.sum(tf.mul(dy, x), 1)],
  );
}
