/**
 * Token-choice routing: score every expert for every token, keep the best k.
 *
 * Reference behaviour (feizc/DiT-MoE models.py, MoEGate): softmax over all experts, top-k of the probabilities, weights not
 * renormalised. Scores are always computed in float32; the reference computes them in whatever autocast gives.
 */
import { ArgumentError, linear, topK } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';

export interface RouterConfig {
  numExperts: number;
  /** Experts per token, `1 ... numExperts`. */
  topK: number;
  /** Turns logits into scores (default `softmax`). */
  scoreFunction?: 'softmax' | 'sigmoid';
  /** Divide the k weights by their sum (default false, as DiT-MoE). */
  normalizeTopK?: boolean;
  /** Multiplies the weights (default 1; DeepSeek-V3 uses 2.5). */
  weightScale?: number;
}

/** Who goes where, with which weight. */
export interface Routing {
  /** Experts of each token, best first: int32 `[N, k]`. */
  indices: tf.Tensor;
  /** Their weights, differentiable: `[N, k]`. */
  weights: tf.Tensor;
  /** Scores of all experts, differentiable: `[N, E]`. */
  scores: tf.Tensor;
}

/**
 * Routes tokens by a linear scorer without bias.
 *
 * @param x `[N, D]`
 * @param gate `[D, E]`
 * @throws ArgumentError if `topK` is not between 1 and the number of experts
 */
export function route(x: tf.Tensor, gate: tf.Tensor, config: RouterConfig): Routing {
  const { numExperts, scoreFunction = 'softmax', normalizeTopK = false, weightScale = 1 } = config;
  if (!Number.isInteger(config.topK) || config.topK < 1 || config.topK > numExperts)
    throw new ArgumentError('route: topK', `1 to ${numExperts}`, config.topK);
  const logits = linear(x, gate);
  const scores = scoreFunction === 'softmax' ? tf.softmax(logits) : tf.sigmoid(logits);
  const { values, indices } = topK(scores, config.topK);
  let weights = values;
  // The floor keeps k vanishing sigmoid scores from becoming NaN.
  if (normalizeTopK) weights = tf.div(weights, tf.add(tf.sum(weights, -1, true), 1e-20));
  if (weightScale !== 1) weights = tf.mul(weights, weightScale);
  return { indices, weights, scores };
}
