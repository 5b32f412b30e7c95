/** Load-balance losses. Counts are constants, so gradients reach the scores only. */
import { ArgumentError, type Collectives, mean, oneHot, sum } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { countedIndices, type RoutingPlan } from '../plan.js';
import type { LossTerm } from './loss-term.js';

/** `sum_i f_i P_i` with `f` the load over its own mean and `P` the mean scores `[E]`. */
function balance(load: tf.Tensor, importance: tf.Tensor): tf.Scalar {
  const share = tf.div(tf.mul(load, load.shape.at(-1)!), tf.maximum(tf.sum(load, -1, true), 1));
  return sum(tf.mul(share, importance)) as tf.Scalar;
}

/**
 * Auxiliary loss of a micro-batch (Switch Transformer eq. 4, as DiT-MoE's gate with `seq_aux=False`): `sum_i f_i P_i` with
 * `f_i = E * load_i / total load` (a constant) and `P_i` the mean score of expert i. 1 at perfect balance of a softmax router.
 * Multiply by alpha (0.01 in the reference code, 0.005 in the paper).
 */
export const balanceLoss: LossTerm = (routing) => balance(routing.load, mean(routing.scores, 0));

/**
 * The same loss with the load of a whole batch that is split over micro-batches or processes (global-batch balance, arXiv 2501.11873).
 * If every part gets the load of all others, the mean of the losses is that of the whole batch, value and gradient.
 *
 * @param others what the other parts sent to each expert, `[E]`; see `GlobalLoad`
 */
export const globalBalanceLoss =
  (others: tf.Tensor): LossTerm =>
  (routing) =>
    balance(tf.add(routing.load, others), mean(routing.scores, 0));

/**
 * The same loss over the batches of all ranks of a cluster: the mean of the ranks' losses is that of the whole batch on one process, value
 * and gradient. One small all-reduce per layer.
 */
export const clusterBalanceLoss =
  (collectives: Collectives): LossTerm =>
  (routing) =>
    balance(collectives.allReduce(routing.load), mean(routing.scores, 0));

/**
 * The same loss for every sequence alone, averaged over the sequences (DiT-MoE's gate with `seq_aux=True`, DeepSeek-V2 section
 * 2.2.3): experts must be balanced within an image, not only over the batch.
 *
 * @param sequences number of sequences of equal length, one after another in the batch
 * @throws ArgumentError if the tokens cannot be divided among them
 */
export const sequenceBalanceLoss =
  (sequences: number): LossTerm =>
  (routing: RoutingPlan) => {
    const [tokens, numExperts] = routing.scores.shape as [number, number];
    if (!Number.isInteger(sequences) || sequences < 1 || tokens % sequences !== 0)
      throw new ArgumentError('sequenceBalanceLoss: sequences', `a positive divisor of the ${tokens} tokens`, sequences);
    const chosen = tf.reshape(oneHot(countedIndices(routing), numExperts), [sequences, -1, numExperts]); // [B, T m, E]
    const importance = mean(tf.reshape(routing.scores, [sequences, tokens / sequences, numExperts]), 1);
    return tf.div(balance(tf.sum(chosen, 1), importance), sequences) as tf.Scalar;
  };
