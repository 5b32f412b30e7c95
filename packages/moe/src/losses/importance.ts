/** Importance and load (Shazeer et al. 2017, arXiv 1701.06538 section 4 and appendix A; V-MoE, arXiv 2106.05974 appendix A). */
import { ArgumentError, mean, sum, topK } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { SMALLEST_SUM } from '../select/selector.js';
import type { LossTerm } from './loss-term.js';

/** Squared coefficient of variation over the experts `[E]`. */
function squaredVariation(x: tf.Tensor): tf.Scalar {
  const average = mean(x);
  const variance = mean(tf.square(tf.sub(x, average)));
  return tf.div(variance, tf.maximum(tf.square(average), SMALLEST_SUM)) as tf.Scalar;
}

/** Squared coefficient of variation of the experts' summed scores; 0 if all are equally important. */
export const importanceLoss: LossTerm = ({ scores }) => squaredVariation(sum(scores, 0));

/**
 * Squared coefficient of variation of a smooth estimate of the load: the probability that an expert is among the best k if its noise
 * were drawn anew. Needs a router with gate noise.
 *
 * @param options `topK`; `std` of the gate noise; `noise`, the very tensor `[N, E]` that was added to the logits
 * @throws ArgumentError if `std` is not positive
 */
export const loadLoss =
  ({ topK: k, std, noise }: { topK: number; std: number; noise: tf.Tensor }): LossTerm =>
  ({ logits }) => {
    if (!(std > 0)) throw new ArgumentError('loadLoss: std', 'a positive number', std);
    const [tokens, numExperts] = logits.shape as [number, number];
    if (k >= numExperts) throw new ArgumentError('loadLoss: topK', `fewer than ${numExperts}`, k);
    const needed = tf.slice(topK(logits, k).values, [0, k - 1], [tokens, 1]);
    const margin = tf.div(tf.sub(tf.sub(logits, noise), needed), std * Math.SQRT2);
    const probability = tf.mul(tf.add(tf.erf(margin), 1), 0.5); // normal distribution function
    return squaredVariation(mean(probability, 0));
  };
