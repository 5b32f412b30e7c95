/** Top-k, sorting and counting, without host reads and stable on every backend (ties keep the lower index first). */
import * as tf from '@tensorflow/tfjs-core';
import { ArgumentError } from '../errors.js';
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
  const backend = tensorFlowBackend();
  // Both turn the order around; GPUs negate int32 in host memory, but invert its bits where it lies.
  const falling = backend !== undefined && x.dtype === 'int32' ? backend.raw('Invert', [x])[0] : tf.neg(x);
  return tf.topk(falling, x.shape[0], true).indices;
}

/** Larger integers are not all float32 numbers. */
const EXACT = 2 ** 24;

/**
 * Inverse of a permutation: `result[permutation[i]] = i`. Int32 `[N]` in and out.
 * @throws ArgumentError for more than 2^24 entries
 */
export function invertPermutation(permutation: tf.Tensor): tf.Tensor {
  const backend = tensorFlowBackend();
  if (backend === undefined) return argsort(permutation);
  // InvertPermutation itself computes in host memory on GPUs. Every place gets one number, so nothing is added up.
  const [size] = permutation.shape;
  if (size > EXACT) throw new ArgumentError('invertPermutation', `at most ${EXACT} entries`, size);
  // The same for a range of int32; one of float32 is made on the device.
  const places = tf.cast(tf.range(0, size), 'int32');
  return backend.raw('UnsortedSegmentSum', [places, permutation, tf.scalar(size, 'int32')])[0];
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
