/** What a selector is, and what several of them need. */
import { customGradient, oneHot, sum } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';

/** Scores to choose by. */
export interface Candidates {
  /** Differentiable scores `[N, E]`: weights come from them. */
  scores: tf.Tensor;
  logits: tf.Tensor;
  numExperts: number;
}

/** What was chosen; the fields are those of `RoutingPlan`. */
export interface Selection {
  /** int32 `[N, m]`; `numExperts` marks an empty slot. */
  indices: tf.Tensor;
  /** `[N, m]`, differentiable; 0 in empty slots. */
  weights: tf.Tensor;
  full: boolean;
}

/** Chooses experts by their scores. */
export type Selector = (candidates: Candidates) => Selection;

/**
 * The scores at `indices`, 0 in empty slots; the gradient goes back by a product with the same one-hot rows, never by a scatter.
 *
 * @param scores `[N, E]`
 * @param indices int32 `[N, m]`
 * @returns `[N, m]`
 */
export function scoresAt(scores: tf.Tensor, indices: tf.Tensor): tf.Tensor {
  const size = scores.shape[1]!;
  return customGradient(
    [scores],
    ([scores]) => {
      const chosen = oneHot(indices, size); // [N, m, E]
      return { value: tf.sum(tf.mul(chosen, tf.expandDims(scores, 1)), 2), saved: [indices] };
    },
    (dy, [indices]) => [tf.sum(tf.mul(oneHot(indices, size), tf.expandDims(dy, 2)), 1)],
  );
}

/** Its square, by which the gradient divides, is still a float32. */
const SMALLEST_SUM = 1e-18;

/** Divides the weights of each token by their sum; the floor keeps k vanishing scores, or none, from becoming NaN. */
export function normalized(weights: tf.Tensor): tf.Tensor {
  return tf.div(weights, tf.maximum(sum(weights, -1, true), SMALLEST_SUM));
}
