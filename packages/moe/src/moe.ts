/**
 * The mixture-of-experts feed-forward layer: scorer -> score function -> selector -> plan -> dispatcher -> experts -> combine.
 * With `tokenChoice(2)` and a shared expert it is the layer of DiT-MoE.
 */
import { linear, type Scope, scoped, swiglu, type Weights } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { groupedExperts } from './experts/expert-groups.js';
import type { RoutedExpertsOptions } from './experts/routed-experts.js';
import { expertWeights, type MoeLayer } from './layer.js';
import { balanceLoss } from './losses/balance.js';
import type { LossTerm } from './losses/loss-term.js';
import type { Routing } from './plan.js';
import { type RouteOptions, route } from './route.js';
import { linearScorer, type Scorer } from './score.js';

/** Losses by name. */
export type LossTerms = Readonly<Record<string, LossTerm>>;

/** Everything about a layer but its weights; each number stands where it is used. */
export interface MoeOptions<L extends LossTerms = LossTerms> extends RouteOptions, RoutedExpertsOptions {
  /** Gives the logits (default: a linear scorer with the weight `gate`). */
  scorer?: Scorer;
  /** Groups of experts of different kinds, as the specs were made with (default: one group, of what the weights are). */
  experts?: MoeLayer['experts'];
  /** Losses to compute, by name (default `{ balance: balanceLoss }`). */
  losses?: L;
}

/** What a layer gives. */
export interface MoeOutput<L extends LossTerms = LossTerms> {
  /** `[N, D]` */
  output: tf.Tensor;
  /** The losses asked for, to be weighted and added by the caller. */
  losses: { [name in keyof L]: tf.Scalar };
  /** What the router did. */
  routing: Routing;
}

/**
 * Applies the layer.
 *
 * @param x tokens `[N, D]`
 * @param weights by the names of {@link moeSpecs}: of a model, of a `ParameterSet`, or variables of `createVariables`
 * @throws MissingWeightError for a weight that is not there; ArgumentError or ShapeError if options, weights and tokens do not fit
 */
export function moe<const L extends LossTerms = { balance: LossTerm }>(
  x: tf.Tensor,
  weights: Weights | Scope,
  options: MoeOptions<L>,
): MoeOutput<L> {
  const scope = scoped(weights);
  const { scorer = linearScorer(scope('gate')), losses = { balance: balanceLoss } } = options;
  const plan = route(x, scorer, options);
  const { output, dropped } = groupedExperts(x, plan, expertWeights(scope, options.experts), options);
  const routing: Routing = { ...plan, ...(dropped && { dropped }) };
  const values = Object.fromEntries(Object.entries(losses).map(([name, term]) => [name, term(routing)]));
  return { output: withShared(x, output, scope.within('shared'), options), losses: values as MoeOutput<L>['losses'], routing };
}

/** The output of the routed experts and that of the shared one, if there is one. */
function withShared(x: tf.Tensor, routed: tf.Tensor, shared: Scope, options: RoutedExpertsOptions): tf.Tensor {
  const [gateUp, gate] = [shared.find('gateUp'), shared.find('gate')];
  if (gateUp === undefined) return routed;
  const scales = { gateUp: shared.find('gateUp.scale'), down: shared.find('down.scale') };
  const common = swiglu(x, gateUp, shared('down'), { precision: options.precision, scales });
  return tf.add(routed, gate === undefined ? common : tf.mul(common, tf.sigmoid(linear(x, gate))));
}
