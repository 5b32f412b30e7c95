/**
 * The mixture-of-experts feed-forward layer: scorer -> score function -> selector -> plan -> dispatcher -> experts -> combine.
 * Without options it is the layer of DiT-MoE: routed SwiGLU experts plus shared ones on the same input.
 */
import { ArgumentError, linear, swiglu } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { type ExpertGroup, expertCount, groupedExperts } from './experts/expert-groups.js';
import type { FeedForwardExperts } from './experts/feed-forward.js';
import type { RoutedExpertsOptions } from './experts/routed-experts.js';
import { balanceLoss } from './losses/balance.js';
import type { LossTerm } from './losses/loss-term.js';
import type { Routing } from './plan.js';
import { type RouteOptions, type RouterConfig, route } from './route.js';
import { linearScorer, type Scorer } from './score.js';

/** Weights of one layer. `H`: hidden width of a routed expert, `S`: of the shared expert. */
export interface MoeWeights {
  /** Router `[D, E]` of the default scorer; not needed with a scorer of one's own. */
  gate?: tf.Tensor;
  /** Equal experts, or groups of different ones. */
  experts: FeedForwardExperts | readonly ExpertGroup[];
  /**
   * An expert that every token uses: `gateUp` `[2, D, S]`, `down` `[S, D]`. It is added as it is, or with `gate` `[D, 1]` times
   * `sigmoid(x gate)` (Qwen2-MoE).
   */
  shared?: { gateUp: tf.Tensor; down: tf.Tensor; gate?: tf.Tensor };
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

/** How tokens are routed; as many experts as the weights have, unless it says how many are expected. */
export type MoeLayerConfig = Omit<RouterConfig, 'numExperts'> & Partial<Pick<RouterConfig, 'numExperts'>>;

/**
 * Applies the layer.
 *
 * @param x tokens `[N, D]`
 * @param weights from a model, or new ones of `moeVariables`
 * @throws ArgumentError or ShapeError if configuration, weights and tokens do not fit each other
 */
export function moe(x: tf.Tensor, weights: MoeWeights, config: MoeLayerConfig, options: MoeOptions = {}): MoeOutput {
  const { experts, gate, shared } = weights;
  const { scorer = gate && linearScorer(gate), losses = { balance: balanceLoss } } = options;
  if (scorer === undefined) throw new ArgumentError('moe', 'the weight gate or a scorer', 'neither');
  const groups = Array.isArray(experts) ? (experts as readonly ExpertGroup[]) : [experts as FeedForwardExperts];
  const { numExperts = groups.reduce((sum, group) => sum + expertCount(group), 0) } = config;
  const plan = route(x, scorer, { ...config, numExperts }, options);
  let { output, dropped } = groupedExperts(x, plan, groups, options);
  if (shared !== undefined) {
    const common = swiglu(x, shared.gateUp, shared.down, options);
    output = tf.add(output, shared.gate === undefined ? common : tf.mul(common, tf.sigmoid(linear(x, shared.gate))));
  }
  const routing: Routing = { ...plan, ...(dropped && { dropped }) };
  return { output, losses: Object.fromEntries(Object.entries(losses).map(([name, term]) => [name, term(routing)])), routing };
}
