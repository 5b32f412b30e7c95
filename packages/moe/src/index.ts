export {
  type DescribeLayerOptions,
  type DispatchCost,
  type DispatcherName,
  describeLayer,
  type LayerDescription,
  type LayerShape,
} from './describe.js';
export { type ExpertModulation, lowRankModulation } from './experts/modulation.js';
export type { RoutedExpertsOptions } from './experts/routed-experts.js';
export { type ExpertGroup, type MoeLayer, moeSpecs } from './layer.js';
export { balanceLoss } from './losses/balance.js';
export type { LossTerm } from './losses/loss-term.js';
export { type LossTerms, type MoeOptions, type MoeOutput, moe } from './moe.js';
export { type RouterNoise, routerNoise } from './noise.js';
export type { Routing, RoutingPlan } from './plan.js';
export { type RouteOptions, route } from './route.js';
export { cosineScorer, linearScorer, mlpScorer, type ScoreFunction, type Scorer } from './score.js';
export type { Candidates, Selection, Selector } from './select/selector.js';
export { type TokenChoiceOptions, tokenChoice } from './select/token-choice.js';
