export {
  type DescribeLayerOptions,
  type DispatchCost,
  type DispatcherName,
  describeLayer,
  type LayerDescription,
  type LayerShape,
} from './describe.js';
export {
  type AutoOptions,
  auto,
  chooseDispatcher,
  type DispatchSpeed,
  measureDispatch,
  REFERENCE_SPEED,
} from './dispatch/auto.js';
export {
  type Assignments,
  type CapacityOptions,
  capacity,
  type Dispatcher,
  dense,
  type ExpertShape,
  type Grouping,
  padded,
  slices,
} from './dispatch/grouping.js';
export { type ExpertGroup, expertCount, groupedExperts } from './experts/expert-groups.js';
export type { FeedForwardExperts, GeluExperts, SwigluExperts } from './experts/feed-forward.js';
export { type ExpertModulation, lowRankModulation } from './experts/modulation.js';
export { type RoutedExpertsOptions, routedExperts } from './experts/routed-experts.js';
export { GlobalLoad } from './global-load.js';
export { LoadBias } from './load-bias.js';
export { balanceLoss, globalBalanceLoss, sequenceBalanceLoss } from './losses/balance.js';
export { importanceLoss, loadLoss } from './losses/importance.js';
export type { LossTerm } from './losses/loss-term.js';
export { routerZLoss } from './losses/router-z.js';
export { routerSimilarityLoss } from './losses/similarity.js';
export { type MoeLayerConfig, type MoeOptions, type MoeOutput, type MoeWeights, moe } from './moe.js';
export { moeVariables } from './moe-variables.js';
export { type RouterNoise, routerNoise } from './noise.js';
export { assignmentMask, expertLoad, type Routing, type RoutingPlan } from './plan.js';
export { type RouteOptions, type RouterConfig, route } from './route.js';
export { type RoutingRecord, recordRouting, replayLayer } from './routing-record.js';
export { cosineScorer, linearScorer, mlpScorer, type ScoreFunction, type Scorer } from './score.js';
export { type CompetitionOptions, expertChoice, globalTopK } from './select/expert-choice.js';
export { assignNullClass, assignTimesteps, type ForcedOptions, forced } from './select/forced.js';
export { maskedSelection, topMask } from './select/mask.js';
export { replay } from './select/replay.js';
export { type Candidates, type Selection, type Selector, scoresAt } from './select/selector.js';
export { ThresholdEstimate, threshold } from './select/threshold.js';
export { type TokenChoiceOptions, tokenChoice } from './select/token-choice.js';
export { routerSettings } from './settings.js';
export { type Heatmap, heatmap, type LayerSnapshot, type RoutingSnapshot, snapshotLines } from './telemetry/snapshot.js';
export { RoutingTelemetry, type TelemetryBatch, type TelemetryConfig } from './telemetry/telemetry.js';
