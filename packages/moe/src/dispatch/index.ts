/** How tokens are laid out for the experts, and the experts on a plan of one's own. */

export type { FeedForwardExperts, GeluExperts, SwigluExperts } from '../experts/feed-forward.js';
export { routedExperts } from '../experts/routed-experts.js';
export { type AutoOptions, auto, chooseDispatcher, type DispatchSpeed, measureDispatch } from './auto.js';
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
} from './grouping.js';
