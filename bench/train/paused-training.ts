/** The trainer's whole run as one side of a benchmark: it stands still while the other sides have their turn. */
import type { TrainConfig } from '../../apps/trainer/src/config/schema.js';
import { train } from '../../apps/trainer/src/training/train.js';
import type { Timer } from '../harness/measure.js';

export const silent = { phase() {}, update() {}, log() {}, done() {} };

/** A run of `train` that takes as many steps as it is told to. */
export class PausedTraining {
  private left = 0;
  private wake = () => {};
  private reached = () => {};
  private readonly stop = new AbortController();
  private readonly ended: Promise<void>;

  /** @param out run folder */
  constructor(config: TrainConfig, out: string) {
    const onStep = async (): Promise<void> => {
      if (--this.left > 0 || this.stop.signal.aborted) return;
      this.reached();
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    };
    this.left = 1;
    this.ended = train(config, { out, resume: false, progress: silent, signal: this.stop.signal, onStep }).then(({ state }) =>
      state.dispose(),
    );
  }

  /** Mean seconds of `count` steps, with the logging that falls among them. */
  readonly timer: Timer = async (count) => {
    const start = performance.now();
    const done = new Promise<void>((resolve) => {
      this.reached = resolve;
    });
    this.left = count;
    this.wake();
    await Promise.race([done, this.ended]);
    return [(performance.now() - start) / 1000 / count];
  };

  /** Ends the run, which saves. */
  async close(): Promise<void> {
    this.stop.abort();
    this.wake();
    await this.ended;
  }
}
