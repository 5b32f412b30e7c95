/** The loop of training: batches in, steps out, and back to the last checkpoint where steps break again and again. */
import { learningRateAt } from '../config/learning-rate.js';
import { DivergedError } from '../errors.js';
import { BatchMaker, type HostBatch, upload } from './batches.js';
import { afterRollBack, afterStep } from './fault-policy.js';
import { Prefetch } from './prefetch.js';
import type { Run } from './run.js';
import { type RunRecord, spikeLimit } from './run-record.js';
import type { StepReport } from './state.js';

/** What happened: a step, taken or skipped, or the way back to an earlier one. `run.record` says where that leaves the run. */
export type TrainEvent = { kind: 'step'; report: StepReport; learningRate: number } | { kind: 'rolled back' };

/**
 * Trains to the last step or until the signal.
 * @param restore puts the newest checkpoint into the state and gives its record; undefined if there is none
 * @throws DivergedError if steps break however often the run has gone back
 */
export async function* trainLoop(run: Run, restore: () => Promise<RunRecord | undefined>): AsyncGenerator<TrainEvent, void> {
  const { config, source, state, progress } = run;
  const { seed, labelDropout, data, faults, accumulation } = config;
  const { rank, size } = run.ranks.cluster ?? { rank: 0, size: 1 };
  // Of every micro-batch each rank takes its part, so that the order of samples does not depend on the number of ranks.
  const micro = config.batchSize / accumulation;
  const part = micro / size;
  const batches = new BatchMaker(source, { seed, labelDropout, model: run.card.config, flip: data.flip });
  const prepare = ({ position, step }: RunRecord): Prefetch<HostBatch> =>
    new Prefetch((i) => batches.make(position + i * micro + rank * part, part), data.prefetch, 0, (config.steps - step) * accumulation);
  let prefetch = prepare(run.record);
  const micros = async function* () {
    for (let m = 0; m < accumulation; m++) yield upload(await prefetch.take(), source, state, seed);
  };
  try {
    // In a cluster all stop after the same step, when some rank has been asked to.
    let stop = false;
    while (run.record.step < config.steps && !(run.ranks.cluster === undefined ? run.signal.aborted : stop)) {
      const start = performance.now();
      const learningRate = learningRateAt(config, run.record.step);
      state.scheduleCapacity(run.record.step);
      const report = await state.step(micros(), learningRate, spikeLimit(run.record, faults.spikeFactor), run.signal.aborted);
      stop = report.stop;
      const { record, verdict } = afterStep(run.record, report, config);
      run.record = record;
      run.timing.busyMs += performance.now() - start;
      run.timing.waitedMs += prefetch.takeWaited();
      run.timing.transferMs += report.transferMs;
      run.timing.computeMs += report.computeMs;
      run.timing.images += config.batchSize;
      if (report.outcome !== 'applied')
        progress.log(`step ${record.step}: ${reasonOf(report)}; the step was skipped (${record.skipped} in all).`);
      if (verdict === 'give up')
        throw new DivergedError(
          `${faults.rollBackAfter} steps in a row gave no finite gradient, after ${record.rollBacks} roll-backs. The checkpoints are untouched; resume with a lower learning rate (--set optimizer.learningRate=...), clipping (optimizer.clipNorm) or in f32.`,
        );
      if (verdict === 'go on') yield { kind: 'step', report, learningRate };
      else {
        await prefetch.stop();
        run.record = afterRollBack(record, await restore(), config);
        progress.log(`WARNING: rolled back to step ${run.record.step}, passing over ${faults.skipBatches} batches.`);
        prefetch = prepare(run.record);
        yield { kind: 'rolled back' };
      }
    }
  } finally {
    await prefetch.stop();
  }
}

const reasonOf = ({ outcome, gradNorm }: StepReport): string =>
  outcome === 'spike' ? `the gradient's norm ${gradNorm.toPrecision(3)} is a spike` : 'the loss or gradient is not finite';
