import { oneHot, stopGradient, sum } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { countedIndices } from '../plan.js';
import { unit } from '../score.js';
import type { LossTerm } from './loss-term.js';

/**
 * Routing contrastive loss of ProMoE (arXiv 2510.24711, and its code): each prototype is to be nearer to the mean of the tokens that chose
 * it first than to the means of the others; cross entropy over their cosines. Experts that no token chose first do not count; 0 where only
 * one was chosen.
 *
 * @param input what the router saw, `[N, C]`
 * @param prototypes `[C, P]`, those of the first experts
 * @param temperature divides the cosines (default 0.1)
 */
export const routingContrastiveLoss =
  (input: tf.Tensor, prototypes: tf.Tensor, temperature = 0.1): LossTerm =>
  (routing) => {
    const count = prototypes.shape[1]!;
    const rows = oneHot(countedIndices(routing), count); // [N, m, P]; of float32, as GPUs slice int32 in host memory
    const first = tf.slice(rows, [0, 0, 0], [input.shape[0], 1, count]);
    const chosen = stopGradient(tf.reshape(first, [-1, count])) as tf.Tensor2D; // [N, P]; tokens of further experts have no row
    const tokens = tf.sum(chosen, 0); // [P]
    const means = tf.matMul(tf.transpose(chosen), tf.div(input, tf.maximum(tf.matMul(chosen, tf.expandDims(tokens, 1)), 1)) as tf.Tensor2D); // [P, C]
    const cosines = tf.matMul(tf.transpose(unit(prototypes, 0)) as tf.Tensor2D, tf.transpose(unit(means, 1)) as tf.Tensor2D);
    const used = tf.cast(tf.greater(tokens, 0), 'float32'); // [P]
    const logits = tf.add(tf.div(cosines, temperature), tf.mul(tf.sub(used, 1), 1e9)); // [prototype, mean], those of no tokens far below
    const top = tf.max(logits, 1, true);
    const total = tf.add(tf.log(sum(tf.exp(tf.sub(logits, top)), 1)), tf.reshape(top, [-1])); // [P]
    const own = sum(tf.mul(logits, tf.eye(count)), 1); // [P]
    return tf.div(sum(tf.mul(used, tf.sub(total, own))), tf.maximum(tf.sum(used), 1)) as tf.Scalar;
  };
