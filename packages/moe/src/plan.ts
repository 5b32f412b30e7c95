/**
 * The routing plan: who goes where, with which weight. Every selector makes one, every dispatcher reads one.
 *
 * One form serves all methods. A token has `m` slots. Token choice fills all of them (`m = k`); expert choice, global top-K and
 * thresholds give a token any number of experts, so there `m = numExperts` and empty slots hold the number `numExperts`.
 */
import { bincount, oneHot, toFloat } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';

/** Which experts each token goes to, with which weights: the one form of every method's result. */
export interface RoutingPlan {
  numExperts: number;
  /** Experts of each token: int32 `[N, m]`; `numExperts` marks an empty slot. */
  indices: tf.Tensor;
  /** Their weights, differentiable: `[N, m]`; 0 in empty slots. */
  weights: tf.Tensor;
  /** Scores of all experts, differentiable: `[N, E]`. */
  scores: tf.Tensor;
  /** What the score function was applied to, differentiable: `[N, E]`. */
  logits: tf.Tensor;
  /** Whether no slot is empty. It follows from the method and saves dispatchers the bookkeeping. */
  full: boolean;
  /** Tokens that chose each expert: float32 `[E]`; tokens whose scores are not finite do not count. */
  load: tf.Tensor;
  /** The score at which a competition over a batch ended: float32 `[E]`; see `batchCompetition`. */
  edge?: tf.Tensor;
}

/** A plan that was carried out. */
export interface Routing extends RoutingPlan {
  /** Assignments for which there was no room (static capacity only): float32 scalar. */
  dropped?: tf.Scalar;
}

/** Whether the scores of each token are finite: int32 `[N, 1]` of 0 and 1. A token with NaN in its input must not enter counts. */
export function finiteTokens(plan: Pick<RoutingPlan, 'scores'>): tf.Tensor {
  return tf.cast(tf.isFinite(tf.sum(plan.scores, -1, true)), 'int32');
}

/** `indices` with the slots of tokens whose scores are not finite emptied: int32 `[N, m]`. */
export function countedIndices(plan: Pick<RoutingPlan, 'scores' | 'indices' | 'numExperts'>): tf.Tensor {
  const none = plan.numExperts;
  // GPUs add int32 in host memory, float32 where it lies.
  return tf.cast(tf.add(tf.mul(tf.sub(toFloat(plan.indices), none), toFloat(finiteTokens(plan))), none), 'int32');
}

/** Int32 indices of any shape as a vector; GPUs reshape int32 in host memory, float32 where it lies. */
export const flatIndices = (indices: tf.Tensor): tf.Tensor => tf.cast(tf.reshape(toFloat(indices), [-1]), 'int32');

/** Tokens that chose each expert, without those whose scores are not finite: float32 `[E]`. */
export function expertLoad(plan: Pick<RoutingPlan, 'scores' | 'indices' | 'numExperts'>): tf.Tensor {
  return toFloat(bincount(flatIndices(countedIndices(plan)), plan.numExperts));
}

/** Which experts each token goes to: float32 `[N, E]` of 0 and 1. */
export function assignmentMask(indices: tf.Tensor, numExperts: number): tf.Tensor {
  return tf.sum(oneHot(indices, numExperts), 1);
}
