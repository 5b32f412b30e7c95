import { customGradient } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { assignmentMask } from '../plan.js';
import type { LossTerm } from './loss-term.js';

/**
 * Loss of a capacity predictor (DiffMoE, arXiv 2503.14487): the mean binary cross entropy of what it foresees and what the competition over
 * the batch chose. log 2 for one that knows nothing.
 *
 * @param predicted logits of being chosen, `[N, E]`, of inputs that carry no gradient, so that the loss trains nothing but the predictor
 */
export const capacityLoss =
  (predicted: tf.Tensor): LossTerm =>
  ({ indices, numExperts }) =>
    customGradient(
      [predicted],
      ([predicted]) => {
        const chosen = assignmentMask(indices, numExperts);
        // log(1 + exp(p)) - chosen p, where no exponential overflows.
        const each = tf.sub(tf.add(tf.relu(predicted), tf.log1p(tf.exp(tf.neg(tf.abs(predicted))))), tf.mul(chosen, predicted));
        return { value: tf.mean(each), saved: [predicted, chosen] };
      },
      (dy, [predicted, chosen]) => [tf.mul(tf.sub(tf.sigmoid(predicted), chosen), tf.mul(dy, 1 / predicted.size))],
    ) as tf.Scalar;
