export { balanceLoss, expertLoad, sequenceBalanceLoss } from './balance-loss.js';
export { type MoeOptions, type MoeOutput, type MoeWeights, moe } from './moe.js';
export { type RouterConfig, type Routing, route } from './route.js';
export { type ExpertWeights, swigluExperts } from './swiglu-experts.js';
