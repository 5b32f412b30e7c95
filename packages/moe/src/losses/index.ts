/** Every loss of routers but the balance loss, which is in the root. */

export { clusterBalanceLoss, globalBalanceLoss, sequenceBalanceLoss } from './balance.js';
export { capacityLoss } from './capacity.js';
export { routingContrastiveLoss } from './contrastive.js';
export { GlobalLoad } from './global-load.js';
export { importanceLoss, loadLoss } from './importance.js';
export { routerZLoss } from './router-z.js';
export { routerSimilarityLoss } from './similarity.js';
