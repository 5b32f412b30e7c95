import * as tf from '@tensorflow/tfjs-core';

/**
 * Gated residual of DiT's adaLN-Zero: `x + gate * branch`, one gate per sample and channel.
 *
 * @param x `[B, T, D]`
 * @param gate `[B, D]`
 * @param branch `[B, T, D]`
 */
export function gatedResidual(x: tf.Tensor, gate: tf.Tensor, branch: tf.Tensor): tf.Tensor {
  return tf.customGrad((a, g, b, save) => {
    const factor = tf.expandDims(g as tf.Tensor, 1); // [B, 1, D]
    (save as tf.GradSaveFunc)([factor, b as tf.Tensor]);
    const gradFunc = (dy: tf.Tensor, [f, sb]: tf.Tensor[]) => [dy, tf.sum(tf.mul(dy, sb), 1), tf.mul(dy, f)];
    return { value: tf.add(a as tf.Tensor, tf.mul(factor, b as tf.Tensor)), gradFunc };
  })(x, gate, branch);
}
