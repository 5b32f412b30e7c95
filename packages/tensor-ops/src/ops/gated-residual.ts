import * as tf from '@tensorflow/tfjs-core';
import { customGradient } from './custom-gradient.js';

/**
 * Gated residual of DiT's adaLN-Zero: `x + gate * branch`, one gate per sample and channel.
 *
 * @param x `[B, T, D]`
 * @param gate `[B, D]`
 * @param branch `[B, T, D]`
 */
export function gatedResidual(x: tf.Tensor, gate: tf.Tensor, branch: tf.Tensor): tf.Tensor {
  return customGradient(
    [x, gate, branch],
    ([x, gate, branch]) => {
      const factor = tf.expandDims(gate, 1); // [B, 1, D]
      return { value: tf.add(x, tf.mul(factor, branch)), saved: [factor, branch] };
    },
    (dy, [factor, branch]) => [dy, tf.sum(tf.mul(dy, branch), 1), tf.mul(dy, factor)],
  );
}
