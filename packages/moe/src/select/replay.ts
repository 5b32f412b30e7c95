/** Routing that was recorded, here or in another framework, instead of a choice. */
import { ShapeError } from '@dit-moe/tensor-ops';
import type * as tf from '@tensorflow/tfjs-core';
import { type Selector, scoresAt } from './selector.js';

/**
 * Sends tokens where `indices` say and weights them by the present scores, so that numerics can be compared apart from ties.
 *
 * @param indices int32 `[N, m]`; `numExperts` marks an empty slot
 * @param full whether no slot is empty (default true)
 * @throws ShapeError if there is not one row for each token
 */
export const replay =
  (indices: tf.Tensor, full = true): Selector =>
  ({ scores }) => {
    if (indices.rank !== 2 || indices.shape[0] !== scores.shape[0])
      throw new ShapeError('replay: indices', `[${scores.shape[0]}, m]`, indices.shape);
    return { indices, weights: scoresAt(scores, indices), full };
  };
