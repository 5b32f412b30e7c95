import * as tf from '@tensorflow/tfjs-core';
import type { LossTerm } from './loss-term.js';

/**
 * Router z-loss (ST-MoE, arXiv 2202.08906 eq. 5): the mean over tokens of `logsumexp(logits)^2`, which keeps logits small. Usual weight
 * 0.001.
 */
export const routerZLoss: LossTerm = ({ logits }) =>
  tf.customGrad((input, save) => {
    const x = input as tf.Tensor;
    const normalizer = tf.logSumExp(x, -1, true); // [N, 1]
    (save as tf.GradSaveFunc)([x, normalizer]);
    const tokens = x.shape[0];
    const gradFunc = (dy: tf.Tensor, saved: tf.Tensor[]) => {
      const [logits, z] = saved as [tf.Tensor, tf.Tensor];
      return tf.mul(tf.mul(tf.exp(tf.sub(logits, z)), z), tf.mul(dy, 2 / tokens));
    };
    return { value: tf.mean(tf.square(normalizer)), gradFunc };
  })(logits) as tf.Scalar;
