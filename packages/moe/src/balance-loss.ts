/** Load-balance losses: returned values, never hidden gradients. */
import { ArgumentError, bincount, mean } from '@dit-moe/tensor-ops';
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

/**
 * The same loss for every sequence alone, averaged over the sequences (DiT-MoE's gate with `seq_aux=True`, DeepSeek-V2 section
 * 2.2.3): experts must be balanced within an image, not only over the batch.
 *
 * @param sequences number of sequences of equal length, one after another in `routing`
 * @throws ArgumentError if the tokens cannot be divided among them
 */
export function sequenceBalanceLoss(routing: Routing, sequences: number): tf.Scalar {
  const [tokens, numExperts] = routing.scores.shape as [number, number];
  if (!Number.isInteger(sequences) || sequences < 1 || tokens % sequences !== 0)
    throw new ArgumentError('sequenceBalanceLoss: sequences', `a positive divisor of the ${tokens} tokens`, sequences);
  const choices = routing.indices.shape[1]!;
  const length = tokens / sequences;
  // One count for every pair of sequence and expert.
  const first = tf.mul(tf.range(0, sequences, 1, 'int32'), tf.scalar(numExperts, 'int32'));
  const pairs = tf.add(tf.reshape(routing.indices, [sequences, length * choices]), tf.expandDims(first, 1));
  const load = tf.reshape(tf.cast(bincount(tf.reshape(pairs, [-1]), sequences * numExperts), 'float32'), [sequences, numExperts]);
  const fraction = tf.mul(load, numExperts / (length * choices));
  const importance = mean(tf.reshape(routing.scores, [sequences, length, numExperts]), 1);
  return tf.div(tf.sum(tf.mul(fraction, importance)), sequences) as tf.Scalar;
}
