/**
 * Experts conditioned on the sample: every expert shifts and scales its input and gates its output by what the timestep and the label
 * say (Diff-MoE, ICML 2025, with low-rank adaLN per expert).
 */
import { linear, ShapeError } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';

/** What each expert does with each of `B` sequences of `N / B` tokens (`B = N`: with each token); each `[B, E, D]`. */
export interface ExpertModulation {
  /** Added to the expert's input after scaling. */
  shift: tf.Tensor;
  /** The expert's input is multiplied by `1 + scale`. */
  scale: tf.Tensor;
  /** The expert's output is multiplied by it. */
  gate: tf.Tensor;
}

/**
 * A modulation of low rank from a condition: `(c A_e) B_e` cut into shift, scale and gate; the gate has 1 added, so that zero weights
 * change nothing.
 *
 * @param condition `[B, C]`
 * @param first `[C, E * r]`, the `A_e` side by side
 * @param second `[E, r, 3 D]`
 */
export function lowRankModulation(condition: tf.Tensor, first: tf.Tensor, second: tf.Tensor): ExpertModulation {
  const [numExperts, rank, columns] = second.shape as [number, number, number];
  if (first.rank !== 2 || first.shape[1] !== numExperts * rank || columns % 3 !== 0)
    throw new ShapeError(
      'lowRankModulation',
      `first [C, ${numExperts} * ${rank}] for second [E, r, 3D]`,
      `[${first.shape}] and [${second.shape}]`,
    );
  const batch = condition.shape[0];
  const inner = tf.transpose(tf.reshape(linear(condition, first), [batch, numExperts, rank]), [1, 0, 2]); // [E, B, r]
  const all = tf.transpose(tf.matMul(inner, second), [1, 0, 2]); // [B, E, 3D]
  const [shift, scale, gate] = tf.split(all, 3, 2) as [tf.Tensor, tf.Tensor, tf.Tensor];
  return { shift, scale, gate: tf.add(gate, 1) };
}
