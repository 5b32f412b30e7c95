/** What is done between steps: lines of metrics, pictures, checkpoints. */
import { asWriteError, WriteError } from '@dit-moe/tensor-ops/io/node';
import type { Run } from '../run.js';
import type { ValidationLoss } from '../validation.js';

export interface Listener {
  /** What it makes, as a warning calls it. */
  name: string;
  /** Steps between two calls; of several numbers each counts. The last step of a run always does. */
  every: number | readonly number[];
  /**
   * Whether the run ends if what it makes cannot be written. What only people look at is not worth that: a disk that is full for a while
   * costs a warning.
   */
  fatal: boolean;
  run(moment: Moment): Promise<void>;
  /** The run has gone back to an earlier step. */
  rewind?(): Promise<void>;
}

/** One step, as its listeners see it, one after the other. */
export interface Moment {
  learningRate: number;
  /** Measured by listeners of this step, for the line of metrics. */
  evaluation: Record<string, number>;
  validation?: ValidationLoss;
}

export function isDue(every: Listener['every'], step: number, last: boolean): boolean {
  return last || [every].flat().some((n) => step % n === 0);
}

/**
 * Calls those whose turn it is, in their order. One that the signal interrupts is left out, so that the run is saved without delay.
 * @throws what a fatal one throws, and whatever is no fault of the disk
 */
export async function tell(listeners: readonly Listener[], run: Run, moment: Moment): Promise<void> {
  const { step } = run.record;
  for (const { name, every, fatal, run: act } of listeners) {
    if (!isDue(every, step, step === run.config.steps)) continue;
    try {
      await act(moment);
    } catch (error) {
      if (run.signal.aborted && (error === run.signal.reason || (error as Error).cause === run.signal.reason)) {
        run.progress.log(`no ${name} for step ${step}: interrupted`);
        continue;
      }
      const output = asWriteError(error, run.out);
      if (fatal || !WriteError.isInstance(output)) throw error;
      run.progress.log(`WARNING: no ${name} for step ${step}: ${output.message}`);
    }
  }
}
