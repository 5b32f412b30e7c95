/** Load-balance losses: returned values, never hidden gradients. */
import { bincount, mean } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import type { Routing } from './route.js';

/** Tokens that each expert received: float32 `[E]`. */
export function expertLoad(routing: Routing): tf.Tensor {
  return tf.cast(bincount(tf.reshape(routing.indices, [-1]), routing.scores.shape[1]!), 'float32');
}

/**
 * Auxiliary loss of a micro-batch (Switch Transformer eq. 4, as DiT-MoE's gate with `seq_aux=False`):
 * `sum_i f_i P_i` with `f_i = E / (N k) * tokens of expert i` (a constant) and `P_i` the mean score of expert i. 1 at perfect
 * balance of a softmax router. Multiply by alpha (0.01 in the reference code, 0.005 in the paper).
 *
 * @param load `expertLoad(routing)`
 */
export function balanceLoss(routing: Routing, load: tf.Tensor): tf.Scalar {
  const [tokens, numExperts] = routing.scores.shape as [number, number];
  const fraction = tf.mul(load, numExperts / (tokens * routing.indices.shape[1]!));
  const importance = mean(routing.scores, 0);
  return tf.sum(tf.mul(fraction, importance)) as tf.Scalar;
}
