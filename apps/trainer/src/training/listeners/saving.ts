/** The checkpoints of a run: saved every so often and at its end, restored when it goes on or back. */
import path from 'node:path';
import { OutputError } from '@dit-moe/kit';
import { asWriteError } from '@dit-moe/tensor-ops/io/node';
import { CheckpointWriter, restoreLatest } from '../checkpoints.js';
import { listCheckpoints } from '../retention.js';
import type { Run } from '../run.js';
import type { RunRecord } from '../run-record.js';
import type { Listener } from './listener.js';

export class Saving {
  private readonly writer: CheckpointWriter;
  private savedStep = -1;
  /** The newest save that failed, and how many have failed in a row. */
  private failed: { error: unknown; reason: string; failures: number } | undefined;

  constructor(private readonly run: Run) {
    this.writer = new CheckpointWriter(
      run.out,
      run.config.checkpoints,
      (error, failures) => this.onFailure(error, failures),
      (message) => run.progress.log(message),
    );
  }

  /** Saves every so often, on every rank; ends the run after too many failures, which come in while it goes on. */
  get listeners(): [failures: Listener, checkpoints: Listener] {
    const { every } = this.run.config.checkpoints;
    return [
      { name: 'failures to save', every: 1, fatal: true, run: () => this.checkFailures() },
      { name: 'checkpoint', every, fatal: true, run: () => this.save() },
    ];
  }

  /**
   * Puts the newest whole checkpoint into the state.
   * @returns its record, and the fingerprint of its data; undefined if there is none
   */
  async restore(): Promise<{ record: RunRecord; data: string } | undefined> {
    await this.settle();
    const { out, state, progress, ranks } = this.run;
    const manifest = await ranks.leaderFirst(() => restoreLatest(out, state, (message) => progress.log(message)));
    if (manifest === undefined) return undefined;
    const { lossHistory, crowding, ...record } = manifest.record;
    if (state.room !== undefined && crowding !== undefined) state.room.crowding = crowding;
    if (lossHistory !== undefined) state.objective.timestepSampler?.restore(lossHistory);
    this.savedStep = record.step;
    return { record, data: manifest.data };
  }

  /**
   * Makes sure that the last step is saved, on disk.
   * @param onSave called when it has not been saved yet
   * @throws OutputError if it cannot be
   */
  async finish(onSave: () => Promise<void>): Promise<void> {
    const { step } = this.run.record;
    // Only rank 0 sees a save that fails, and all have to take part in the next.
    const isSaved = async (): Promise<boolean> => !(await this.run.ranks.any(this.savedStep !== step));
    if (!(await isSaved())) {
      await this.save();
      await onSave();
    }
    await this.settle();
    if (!(await isSaved())) {
      await this.save();
      await this.settle();
    }
    if (this.savedStep !== step) throw await this.notSaved(`The last checkpoint, of step ${step}, could not be saved.`);
  }

  /** Waits until nothing is being written. */
  settle(): Promise<void> {
    return this.writer.settle();
  }

  private async save(): Promise<void> {
    const { state, card, record, source, ranks } = this.run;
    // Rank 0 may have been busy for longer than the others wait for a collective.
    await ranks.barrier();
    const lossHistory = state.objective.timestepSampler?.lossHistory;
    const { room } = state;
    const saved: RunRecord = { ...record, ...(lossHistory && { lossHistory }), ...(room && { crowding: room.crowding }) };
    // A save that fails says so, now or later.
    this.savedStep = record.step;
    await this.writer.save(state, { ...card, step: record.step }, saved, source.fingerprint, ranks);
  }

  private onFailure(error: unknown, failures: number): void {
    const { out, progress } = this.run;
    const reason = (asWriteError(error, path.join(out, 'checkpoints')) as Error).message;
    progress.log(`WARNING: the checkpoint could not be saved (${failures} in a row): ${reason}`);
    this.savedStep = -1;
    this.failed = { error, reason, failures };
  }

  private async checkFailures(): Promise<void> {
    const failures = this.failed?.failures ?? 0;
    if (failures >= this.run.config.faults.maxFailedSaves)
      throw await this.notSaved(`${failures} checkpoints in a row could not be saved.`);
  }

  /** The error that ends a run whose saves fail: what happened, why, what is left of the run, and how to go on. */
  private async notSaved(what: string): Promise<OutputError> {
    const { error, reason } = this.failed!;
    const [newest] = await listCheckpoints(this.run.out);
    const next =
      newest === undefined
        ? 'Nothing of this run is saved yet: the same command with --resume starts it again at step 0.'
        : `${newest} is the newest one saved: the same command with --resume goes on from there.`;
    return new OutputError(`${what} ${reason} ${next}`, { cause: error });
  }
}
