import { customGradient } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import type { LossTerm } from './loss-term.js';

/**
 * Router z-loss (ST-MoE, arXiv 2202.08906 eq. 5): the mean over tokens of `logsumexp(logits)^2`, which keeps logits small. Usual weight
 * 0.001.
 */
export const routerZLoss: LossTerm = ({ logits }) =>
  customGradient(
    [logits],
    ([logits]) => {
      const z = tf.logSumExp(logits, -1, true); // [N, 1]
      return { value: tf.mean(tf.square(z)), saved: [logits, z] };
    },
    (dy, [logits, z]) => [tf.mul(tf.mul(tf.exp(tf.sub(logits, z)), z), tf.mul(dy, 2 / logits.shape[0]))],
  ) as tf.Scalar;
