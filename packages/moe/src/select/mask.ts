/** Selections in which a token may have any number of experts. */
import { cumsum } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import type { Selection } from './selector.js';

/**
 * Marks the `k` largest entries of each row, exactly `k`; among equal ones the first. Without scatter and without host reads.
 *
 * @param scores `[R, M]`
 * @returns float32 `[R, M]` of 0 and 1
 */
export function topMask(scores: tf.Tensor, k: number): tf.Tensor {
  const [rows, columns] = scores.shape as [number, number];
  if (k >= columns) return tf.ones([rows, columns]);
  const last = tf.slice(tf.topk(scores, k, true).values, [0, k - 1], [rows, 1]);
  const above = tf.cast(tf.greater(scores, last), 'float32');
  const equal = tf.cast(tf.equal(scores, last), 'float32');
  const missing = tf.sub(k, tf.sum(above, 1, true));
  const wanted = tf.cast(tf.less(cumsum(equal, 1, { exclusive: true }), missing), 'float32');
  return tf.add(above, tf.mul(equal, wanted));
}

/**
 * The selection that a mask says: one slot for each expert.
 *
 * @param scores differentiable `[N, E]`
 * @param mask float32 `[N, E]` of 0 and 1
 */
export function maskedSelection(scores: tf.Tensor, mask: tf.Tensor): Selection {
  const numExperts = scores.shape[1]!;
  const expert = tf.range(0, numExperts);
  const indices = tf.cast(tf.add(numExperts, tf.mul(mask, tf.sub(expert, numExperts))), 'int32');
  return { indices, weights: tf.mul(scores, mask), full: false };
}
