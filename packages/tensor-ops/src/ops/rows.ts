/**
 * Row gathers that never read indices to the host (tfjs-node's `tf.gather` does, on every call), with gradients that work
 * on every backend.
 */
import * as tf from '@tensorflow/tfjs-core';
import { tensorFlowBackend } from '../tensorflow-backend.js';
import { customGradient } from './custom-gradient.js';
import { takeRows } from './dynamic-rows.js';
import { oneHot } from './one-hot.js';

/** Sums rows of `dy` into `count` rows by `indices`: the gradient of a gather. */
function segmentSum(dy: tf.Tensor, indices: tf.Tensor, count: number): tf.Tensor {
  const backend = tensorFlowBackend();
  if (backend !== undefined) return backend.raw('UnsortedSegmentSum', [dy, indices, tf.scalar(count, 'int32')])[0];
  // Products over nothing are not zero on the wasm backend.
  if (dy.shape[0] === 0) return tf.zeros([count, ...dy.shape.slice(1)]);
  // wasm lacks UnsortedSegmentSum; a product with a one-hot matrix is exact and deterministic everywhere.
  const flat = tf.reshape(dy, [dy.shape[0], tf.util.sizeFromShape(dy.shape.slice(1))]) as tf.Tensor2D;
  const matrix = oneHot(indices, count) as tf.Tensor2D;
  return tf.reshape(tf.matMul(tf.transpose(matrix), flat), [count, ...dy.shape.slice(1)]);
}

/**
 * Rows of `x` at `indices`.
 *
 * @param x `[N, ...]`
 * @param indices int32 `[M]`, each in `[0, N)`; out of range is an error on the TensorFlow CPU runtime, zeros on a GPU
 * @returns `[M, ...]`
 */
export function gatherRows(x: tf.Tensor, indices: tf.Tensor): tf.Tensor {
  const count = x.shape[0];
  return customGradient(
    [x],
    ([x]) => ({ value: takeRows(x, indices), saved: [indices] }),
    (dy, [indices]) => [segmentSum(dy, indices, count)],
  );
}

/**
 * Rows of `x` in the order of a permutation. The gradient is a gather by the inverse: no sums, deterministic.
 *
 * @param x `[N, ...]`
 * @param permutation int32 `[N]`
 * @param inverse int32 `[N]`, its inverse
 */
export function permuteRows(x: tf.Tensor, permutation: tf.Tensor, inverse: tf.Tensor): tf.Tensor {
  return customGradient(
    [x],
    ([x]) => ({ value: takeRows(x, permutation), saved: [inverse] }),
    (dy, [inverse]) => [takeRows(dy, inverse)],
  );
}

/**
 * Rows of an embedding table.
 *
 * @param table `[V, D]`
 * @param ids int32 of any shape `[...]`
 * @returns `[..., D]`
 */
export function embedding(table: tf.Tensor, ids: tf.Tensor): tf.Tensor {
  if (ids.rank === 1) return gatherRows(table, ids);
  return tf.reshape(gatherRows(table, tf.reshape(ids, [-1])), [...ids.shape, table.shape[1]!]);
}
