/** Gradient clipping by global norm (Pascanu et al. 2013), as `torch.nn.utils.clip_grad_norm_`. */
import * as tf from '@tensorflow/tfjs-core';
import { ArgumentError } from '../errors.js';
import { sum } from '../ops/index.js';
import { tensorFlowBackend } from '../tensorflow-backend.js';

/** Root of the sum of squares of all gradients; NaN or infinite if any of them is. */
export function globalNorm(grads: Readonly<Record<string, tf.Tensor>>): tf.Scalar {
  return tf.tidy(() => tf.sqrt(tf.mul(halfSquares(Object.values(grads)), 2)) as tf.Scalar);
}

/** Half the sum of the squares of all elements, scalar. */
export function halfSquares(tensors: readonly tf.Tensor[]): tf.Tensor {
  const backend = tensorFlowBackend();
  // L2Loss is that in one pass.
  return tf.addN(tensors.map((x) => (backend ? backend.raw('L2Loss', [x])[0] : tf.mul(sum(tf.square(x)), 0.5))));
}

/** Added to the norm before dividing, as PyTorch does, so that a zero gradient stays zero. */
const EPSILON = 1e-6;

/**
 * What {@link clipByGlobalNorm} multiplies gradients of this norm by, scalar.
 * @throws ArgumentError unless `maxNorm` is positive
 */
export function clipFactor(maxNorm: number, norm: tf.Tensor): tf.Tensor {
  if (!(maxNorm > 0)) throw new ArgumentError('clipByGlobalNorm: maxNorm', 'a positive number', maxNorm);
  return tf.minimum(1, tf.div(maxNorm, tf.add(norm, EPSILON)));
}

/**
 * Scales all gradients by `min(1, maxNorm / norm)`.
 * @param norm if it is known already
 * @returns new tensors
 * @throws ArgumentError unless `maxNorm` is positive
 */
export function clipByGlobalNorm(
  grads: Readonly<Record<string, tf.Tensor>>,
  maxNorm: number,
  norm: tf.Tensor = globalNorm(grads),
): Record<string, tf.Tensor> {
  const factor = clipFactor(maxNorm, norm);
  return Object.fromEntries(Object.entries(grads).map(([name, grad]) => [name, tf.mul(grad, factor)]));
}
