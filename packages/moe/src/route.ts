/**
 * Routing: scorer, score function and selector make a plan.
 *
 * With the defaults and `tokenChoice(2)` it is the reference's (feizc/DiT-MoE models.py, MoEGate): softmax over all experts, the best two,
 * weights not renormalised. Scores are always computed in float32; the reference computes them in whatever autocast gives.
 */
import { ShapeError } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import type { RouterNoise } from './noise.js';
import { expertLoad, type RoutingPlan } from './plan.js';
import { expandLogits, type ScoreFunction, type Scorer, scoreOf } from './score.js';
import { normalized, type Selector } from './select/selector.js';

/** How tokens are scored and experts selected. */
export interface RouteOptions {
  /** Chooses the experts: `tokenChoice(2)`, `expertChoice(2)`, ... */
  selector: Selector;
  /** Turns logits into scores (default `softmax`). */
  scoreFunction?: ScoreFunction;
  /** Divide the weights of a token by their sum (default false, as DiT-MoE). */
  normalizeTopK?: boolean;
  /** Multiplies the weights (default 1; DeepSeek-V3 uses 2.5). */
  weightScale?: number;
  /** What the router sees instead of the tokens: `[N, C]`, or `[B, C]` with one row for each sequence of `N / B` tokens. */
  routerInput?: tf.Tensor;
  /** Noise on the router's input and logits, in training only; see `routerNoise`. */
  noise?: RouterNoise;
}

/**
 * Makes the plan for tokens.
 *
 * @param x `[N, D]`
 * @param scorer gives logits from the tokens or the router's own input; their columns are the experts
 * @throws ShapeError if the logits do not fit the tokens; ArgumentError if the selector does not fit the experts
 */
export function route(x: tf.Tensor, scorer: Scorer, options: RouteOptions): RoutingPlan {
  const { selector, scoreFunction = 'softmax', normalizeTopK = false, weightScale = 1, routerInput = x, noise = {} } = options;
  const clean = scorer(noise.jitter === undefined ? routerInput : tf.mul(routerInput, noise.jitter));
  if (clean.rank !== 2) throw new ShapeError('route: logits of the scorer', '[N, E]', clean.shape);
  const numExperts = clean.shape[1]!;
  const expanded = expandLogits(clean, x.shape[0]);
  const logits = noise.gate === undefined ? expanded : tf.add(expanded, noise.gate);
  const scores = scoreOf(logits, scoreFunction);
  const selection = selector({ scores, logits, numExperts });
  let { weights } = selection;
  if (normalizeTopK) weights = normalized(weights);
  if (weightScale !== 1) weights = tf.mul(weights, weightScale);
  const load = expertLoad({ numExperts, scores, indices: selection.indices });
  return { numExperts, scores, logits, ...selection, weights, load };
}
