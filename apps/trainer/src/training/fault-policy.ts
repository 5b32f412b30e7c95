/** What a run does about steps that break: pure functions of what it knows and what a step reports. */
import type { TrainConfig } from '../config/schema.js';
import { countStep, type RunRecord } from './run-record.js';
import type { StepReport } from './state.js';

/** After a step: train on, restore the last checkpoint, or end the run. */
export type Verdict = 'go on' | 'roll back' | 'give up';

/** What the policy needs of a configuration. */
export type FaultSettings = Pick<TrainConfig, 'batchSize'> & {
  faults: Pick<TrainConfig['faults'], 'rollBackAfter' | 'skipBatches' | 'maxRollBacks'>;
};

/** The record after a step, and what follows from it. */
export function afterStep(
  record: RunRecord,
  report: StepReport,
  { batchSize, faults }: FaultSettings,
): { record: RunRecord; verdict: Verdict } {
  const next = countStep(record, report, batchSize);
  if (next.badInARow < faults.rollBackAfter) return { record: next, verdict: 'go on' };
  return { record: next, verdict: next.rollBacks < faults.maxRollBacks ? 'roll back' : 'give up' };
}

/**
 * The record after going back: that of the checkpoint, with the batches passed over at which training broke, and with what has been
 * counted meanwhile.
 * @param restored undefined without a checkpoint: the weights are still those before the first bad step, and only batches are passed over
 */
export function afterRollBack(broken: RunRecord, restored: RunRecord | undefined, { batchSize, faults }: FaultSettings): RunRecord {
  return {
    ...(restored ?? broken),
    position: broken.position + faults.skipBatches * batchSize,
    rollBacks: broken.rollBacks + 1,
    skipped: broken.skipped,
    badInARow: 0,
  };
}
