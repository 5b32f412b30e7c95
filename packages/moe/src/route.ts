/**
 * Routing: scorer, score function and selector make a plan.
 *
 * The defaults are the reference's (feizc/DiT-MoE models.py, MoEGate): softmax over all experts, top-k of the probabilities,
 * weights not renormalised. Scores are always computed in float32; the reference computes them in whatever autocast gives.
 */
import { ArgumentError } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import type { RouterNoise } from './noise.js';
import { expertLoad, type RoutingPlan } from './plan.js';
import { expandLogits, type ScoreFunction, type Scorer, scoreOf } from './score.js';
import { normalized, type Selector } from './select/selector.js';
import { tokenChoice } from './select/token-choice.js';

export interface RouterConfig {
  numExperts: number;
  /** Experts per token, `1 ... numExperts`; used by the default selector. */
  topK: number;
  /** Turns logits into scores (default `softmax`). */
  scoreFunction?: ScoreFunction;
  /** Choose among the best groups of experts only (default: among all). */
  groups?: { count: number; keep: number };
  /** Divide the weights of a token by their sum (default false, as DiT-MoE). */
  normalizeTopK?: boolean;
  /** Multiplies the weights (default 1; DeepSeek-V3 uses 2.5). */
  weightScale?: number;
}

export interface RouteOptions {
  /** What the router sees instead of the tokens: `[N, C]`, or `[B, C]` with one row for each sequence of `N / B` tokens. */
  routerInput?: tf.Tensor;
  /** Chooses the experts (default: `tokenChoice` of the configuration). */
  selector?: Selector;
  /** Added to the scores for the default selector's choice, never to the weights: `[E]`, see `LoadBias`. */
  bias?: tf.Tensor;
  /** Noise on the router's input and logits, in training only; see `routerNoise`. */
  noise?: RouterNoise;
}

/**
 * Makes the plan for tokens.
 *
 * @param x `[N, D]`
 * @param scorer gives logits from the tokens or the router's own input
 * @throws ArgumentError if the configuration does not fit the number of experts
 */
export function route(x: tf.Tensor, scorer: Scorer, config: RouterConfig, options: RouteOptions = {}): RoutingPlan {
  const { numExperts, topK, groups, scoreFunction = 'softmax', normalizeTopK = false, weightScale = 1 } = config;
  if (!Number.isInteger(numExperts) || numExperts < 1) throw new ArgumentError('route: numExperts', 'a positive integer', numExperts);
  const { routerInput = x, noise = {}, bias } = options;
  const clean = scorer(noise.jitter === undefined ? routerInput : tf.mul(routerInput, noise.jitter));
  const expanded = expandLogits(clean, x.shape[0], numExperts);
  const logits = noise.gate === undefined ? expanded : tf.add(expanded, noise.gate);
  const scores = scoreOf(logits, scoreFunction);
  const select = options.selector ?? tokenChoice({ topK, ...(groups && { groups }), ...(bias && { bias }) });
  const selection = select({ scores, logits, numExperts });
  let { weights } = selection;
  if (normalizeTopK) weights = normalized(weights);
  if (weightScale !== 1) weights = tf.mul(weights, weightScale);
  const load = expertLoad({ numExperts, scores, indices: selection.indices });
  return { numExperts, scores, logits, ...selection, weights, load };
}
