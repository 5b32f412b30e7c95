/** What a selector is, and what several of them need. */
import { customGradient, oneHot, sum, toFloat } from '@dit-moe/tensor-ops';
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
  /** The score at which a competition over a batch ended: `[E]`; see `batchCompetition`. */
  edge?: tf.Tensor;
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

/** Floor of what is divided by: its square, by which the gradient divides, is still a float32. */
export const SMALLEST_SUM = 1e-18;

/** Divides the weights of each token by their sum; the floor keeps k vanishing scores, or none, from becoming NaN. */
export function normalized(weights: tf.Tensor): tf.Tensor {
  return tf.div(weights, tf.maximum(sum(weights, -1, true), SMALLEST_SUM));
}

/**
 * `selector`, whose weights are divided by the mean of those of an expert's tokens, in each sequence alone.
 *
 * @param selector one with a slot for each expert, such as `expertChoice`
 * @param sequences number of sequences of equal length in the batch
 */
export const normalizedByExpert =
  (selector: Selector, sequences: number): Selector =>
  (candidates) => {
    const { weights, indices, ...rest } = selector(candidates);
    const shape = [sequences, -1, candidates.numExperts];
    const chosen = tf.reshape(toFloat(tf.less(indices, candidates.numExperts)), shape); // [B, T, E]
    const bySequence = tf.reshape(weights, shape);
    const mean = tf.div(sum(bySequence, 1, true), tf.maximum(tf.sum(chosen, 1, true), 1));
    return { ...rest, indices, weights: tf.reshape(tf.div(bySequence, tf.maximum(mean, SMALLEST_SUM)), weights.shape) };
  };
