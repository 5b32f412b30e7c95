/** From tokens to scores of the experts. Always in float32: close scores decide who computes. */
import { ArgumentError, linear, mean, ShapeError, silu } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';

/** Gives a token's logits `[N, E]` from the router's input `[N, C]`. Any differentiable function will do. */
export type Scorer = (input: tf.Tensor) => tf.Tensor;

/** Turns logits into scores. */
export type ScoreFunction = 'softmax' | 'sigmoid' | 'identity' | ((logits: tf.Tensor) => tf.Tensor);

/**
 * Affine scorer, the router of nearly every published model.
 *
 * @param weight `[C, E]`
 * @param bias `[E]`
 */
export const linearScorer =
  (weight: tf.Tensor, bias?: tf.Tensor): Scorer =>
  (input) =>
    linear(input, weight, bias);

/**
 * Cosine similarity to learnable prototypes, divided by a temperature (X-MoE, arXiv 2204.09179; ProMoE, arXiv 2510.24711).
 *
 * @param prototypes `[C, E]`, one column for each expert
 * @param temperature positive; a number or a learnable scalar (default 0.07, where X-MoE starts)
 */
export const cosineScorer =
  (prototypes: tf.Tensor, temperature: number | tf.Tensor = 0.07): Scorer =>
  (input) =>
    tf.div(linear(unit(input, 1), unit(prototypes, 0)), temperature);

/**
 * Two-layer scorer with SiLU between (as the capacity predictor of DiffMoE, arXiv 2503.14487).
 *
 * @param weights `hidden` `[C, R]`, `output` `[R, E]`, biases optional
 */
export const mlpScorer =
  (weights: { hidden: tf.Tensor; hiddenBias?: tf.Tensor; output: tf.Tensor; outputBias?: tf.Tensor }): Scorer =>
  (input) =>
    linear(silu(linear(input, weights.hidden, weights.hiddenBias)), weights.output, weights.outputBias);

/** Rows or columns of length one; a zero vector stays zero. */
export function unit(x: tf.Tensor, axis: number): tf.Tensor {
  const squares = tf.mul(mean(tf.square(x), axis, true), x.shape[axis]);
  return tf.mul(x, tf.rsqrt(tf.add(squares, 1e-12)));
}

/** Applies a score function. */
export function scoreOf(logits: tf.Tensor, fn: ScoreFunction): tf.Tensor {
  if (typeof fn === 'function') return fn(logits);
  switch (fn) {
    case 'softmax':
      return tf.softmax(logits);
    case 'sigmoid':
      return tf.sigmoid(logits);
    case 'identity':
      return logits;
    default:
      throw new ArgumentError('route: scoreFunction', "'softmax', 'sigmoid', 'identity' or a function", fn);
  }
}

/**
 * One row of logits for every token.
 *
 * @param logits `[N, E]`, or `[B, E]` if the router sees one row for each sequence of `N / B` tokens (a router on the timestep only)
 * @throws ShapeError if the rows do not divide the tokens
 */
export function expandLogits(logits: tf.Tensor, tokens: number): tf.Tensor {
  const [rows, numExperts] = logits.shape as [number, number];
  if (tokens % rows !== 0)
    throw new ShapeError('route: logits of the scorer', `[N, E] with N a divisor of the ${tokens} tokens`, logits.shape);
  if (rows === tokens) return logits;
  const repeated = tf.mul(tf.expandDims(logits, 1), tf.ones([1, tokens / rows, 1]));
  return tf.reshape(repeated, [tokens, numExperts]);
}
