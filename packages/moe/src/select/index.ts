/** Every selector but token choice, which is in the root, and what is kept for them between steps. */

export { type BatchCompetitionOptions, batchCompetition } from './batch-competition.js';
export { type CompetitionOptions, expertChoice, globalTopK } from './expert-choice.js';
export { assignNullClass, assignTimesteps, type ForcedOptions, forced } from './forced.js';
export { LoadBias } from './load-bias.js';

export { replay } from './replay.js';
export { type RoutingRecord, recordRouting, replayLayer } from './routing-record.js';
export { normalizedByExpert, scoresAt } from './selector.js';
export { ThresholdEstimate, threshold } from './threshold.js';
