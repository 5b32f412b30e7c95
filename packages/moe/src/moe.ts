/**
 * The mixture-of-experts feed-forward layer: scorer -> score function -> selector -> plan -> dispatcher -> experts -> combine.
 * Without options it is the layer of DiT-MoE: routed SwiGLU experts plus shared ones on the same input.
 */
import { swiglu } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import type { FeedForwardExperts } from './experts/feed-forward.js';
import { type RoutedExpertsOptions, routedExperts } from './experts/routed-experts.js';
import { balanceLoss } from './losses/balance.js';
import type { LossTerm } from './losses/loss-term.js';
import type { Routing } from './plan.js';
import { type RouteOptions, type RouterConfig, route } from './route.js';
import { linearScorer, type Scorer } from './score.js';

/** Weights of one layer. `H`: hidden width of a routed expert, `S`: of the shared expert. */
export interface MoeWeights {
  /** Router `[D, E]` of the default scorer. */
  gate: tf.Tensor;
  experts: FeedForwardExperts;
  /** An expert that every token uses, unweighted: `gateUp` `[D, 2S]`, `down` `[S, D]`. */
  shared?: { gateUp: tf.Tensor; down: tf.Tensor };
}

export interface MoeOutput {
  /** `[N, D]` */
  output: tf.Tensor;
  /** Loss terms by name, to be weighted and added by the caller. */
  losses: Record<string, tf.Scalar>;
  routing: Routing;
}

export interface MoeOptions extends RouteOptions, RoutedExpertsOptions {
  /** Gives the logits (default: a linear scorer with the weight `gate`). */
  scorer?: Scorer;
  /** Losses to compute, by name (default `{ balance: balanceLoss }`). */
  losses?: Readonly<Record<string, LossTerm>>;
}

/**
 * Applies the layer.
 *
 * @param x tokens `[N, D]`
 */
export function moe(x: tf.Tensor, weights: MoeWeights, config: RouterConfig, options: MoeOptions = {}): MoeOutput {
  const { scorer = linearScorer(weights.gate), losses = { balance: balanceLoss } } = options;
  const plan = route(x, scorer, config, options);
  const { output: routed, dropped } = routedExperts(x, plan, weights.experts, options);
  const routing: Routing = { ...plan, ...(dropped && { dropped }) };
  let output = routed;
  if (weights.shared !== undefined) output = tf.add(output, swiglu(x, weights.shared.gateUp, weights.shared.down, options));
  return { output, losses: Object.fromEntries(Object.entries(losses).map(([name, term]) => [name, term(routing)])), routing };
}
