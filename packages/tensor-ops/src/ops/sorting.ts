/** Top-k, sorting and counting, without host reads and stable on every backend (ties keep the lower index first). */
import * as tf from '@tensorflow/tfjs-core';
import { tensorFlowBackend } from '../tensorflow-backend.js';
import { customGradientWithExtra } from './custom-gradient.js';
import { oneHot } from './one-hot.js';

/**
 * The `k` largest entries of the last axis, largest first; equal values keep the lower index first.
 *
 * @param x `[..., N]`
 * @returns `values` `[..., k]` (differentiable) and int32 `indices` `[..., k]`
 */
export function topK(x: tf.Tensor, k: number): { values: tf.Tensor; indices: tf.Tensor } {
  const size = x.shape.at(-1)!;
  const { value, extra } = customGradientWithExtra(
    [x],
    ([x]) => {
      const { values, indices } = tf.topk(x, k, true);
      return { value: values, saved: [indices], extra: [indices] };
    },
    (dy, [indices]) => {
      const chosen = oneHot(indices, size); // [..., k, N]
      return [tf.sum(tf.mul(chosen, tf.expandDims(dy, -1)), -2)];
    },
  );
  return { values: value, indices: extra[0] };
}

/**
 * Indices that sort a vector ascending; equal entries keep their order.
 *
 * @param x int32 or float32 `[N]`
 * @returns int32 `[N]`
 */
export function argsort(x: tf.Tensor): tf.Tensor {
  return tf.topk(tf.neg(x), x.shape[0], true).indices;
}

/** Inverse of a permutation: `result[permutation[i]] = i`. Int32 `[N]` in and out. */
export function invertPermutation(permutation: tf.Tensor): tf.Tensor {
  const backend = tensorFlowBackend();
  return backend === undefined ? argsort(permutation) : backend.raw('InvertPermutation', [permutation])[0];
}

/**
 * How often each of `0 ... size - 1` occurs.
 *
 * @param x int32 `[N]`
 * @returns int32 `[size]`
 */
export function bincount(x: tf.Tensor, size: number): tf.Tensor {
  const backend = tensorFlowBackend();
  if (backend !== undefined) {
    const [counts] = backend.raw('Bincount', [x, tf.scalar(size, 'int32'), tf.tensor1d([], 'int32')]);
    backend.suggestParts(counts, x.size);
    return counts;
  }
  return tf.cast(tf.sum(oneHot(x, size), 0), 'int32');
}
