import { sum } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { assignmentMask, countedIndices } from '../plan.js';
import type { LossTerm } from './loss-term.js';

/**
 * Router similarity loss of Expert Race (arXiv 2503.16057 section 5): balance over single experts and over pairs of them, so that
 * experts are neither overused nor always used together.
 *
 * `(1 / N) sum_ij W_ij (P^T P)_ij` with `P` the softmax of the logits, `M` the assignments, `W_ii = E M'_ii / sum_k M'_kk` and
 * `W_ij = (E^2 - E) M'_ij / sum_(k != l) M'_kl` for `M' = M^T M`, a constant. About 1 for an even router.
 */
export const routerSimilarityLoss: LossTerm = (routing) => {
  const { numExperts, logits } = routing;
  const tokens = logits.shape[0];
  const mask = assignmentMask(countedIndices(routing), numExperts) as tf.Tensor2D; // [N, E]
  const together = tf.matMul(tf.transpose(mask), mask);
  const self = tf.eye(numExperts);
  const share = (part: tf.Tensor, cells: number) => tf.div(tf.mul(part, cells), tf.maximum(tf.sum(part), 1));
  const weights = tf.add(
    share(tf.mul(together, self), numExperts),
    share(tf.mul(together, tf.sub(1, self)), numExperts * numExperts - numExperts),
  );
  const probabilities = tf.softmax(logits) as tf.Tensor2D;
  // sum_ij W_ij (P^T P)_ij = sum_n p_n W p_n
  const weighted = tf.matMul(probabilities, weights as tf.Tensor2D);
  return tf.div(sum(tf.mul(weighted, probabilities)), tokens) as tf.Scalar;
};
