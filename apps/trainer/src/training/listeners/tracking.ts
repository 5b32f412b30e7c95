/**
 * Metrics, settings and samples for Weights & Biases and MLflow. They are told beside the training, which waits for none of them but at its
 * end, and what fails costs a warning: all of it is in the run's folder, so that the next call makes good what this one could not.
 */
import { MlflowTracker } from '../../logging/mlflow.js';
import type { RunEnd, TrackedRun, Tracker } from '../../logging/tracker.js';
import { WandbTracker } from '../../logging/wandb.js';
import type { MetricsLog } from '../metrics-log.js';
import type { Run } from '../run.js';
import type { Listener } from './listener.js';

/** Trackers of the places that the configuration names. */
export async function openTrackers(run: Run, metrics: MetricsLog): Promise<Tracker[]> {
  const { wandb, mlflow } = run.config.logging;
  const tracked: TrackedRun = { out: run.out, config: run.config, lines: () => metrics.lines, say: (message) => run.progress.log(message) };
  return [
    ...(wandb === undefined ? [] : [await WandbTracker.open(tracked, wandb)]),
    ...(mlflow === undefined ? [] : [new MlflowTracker(tracked, mlflow)]),
  ];
}

/** Tells the trackers, after what there is to tell of a step has been written. */
export class Tracking {
  /** What each is being told. */
  private readonly busy = new Map<Tracker, Promise<void>>();
  /** Those whose last call failed. */
  private readonly behind = new Set<Tracker>();

  constructor(
    private readonly run: Pick<Run, 'config' | 'record' | 'progress'>,
    private readonly trackers: readonly Tracker[],
  ) {}

  get listener(): Listener {
    const { logEvery, sampling, evaluation, validation } = this.run.config;
    return {
      name: 'logging',
      every: [logEvery, sampling.every, ...[evaluation, validation].flatMap((set) => set?.every ?? [])],
      fatal: false,
      run: async () => {
        const { step } = this.run.record;
        // One that is still busy is told later of what came meanwhile.
        for (const tracker of this.trackers)
          if (!this.busy.has(tracker))
            void this.tell(tracker, () => tracker.update(step), 'The run goes on; they follow when it is possible.');
      },
      rewind: async () => {
        await Promise.all(this.busy.values());
        for (const tracker of this.trackers) await tracker.rewind(this.run.record.step);
      },
    };
  }

  /** Waits until all know how the run ended, or cannot be told. */
  async finish(end: RunEnd): Promise<void> {
    await Promise.all(this.busy.values());
    const { step } = this.run.record;
    this.behind.clear();
    await Promise.all(
      this.trackers.map((tracker) => this.tell(tracker, () => tracker.finish(step, end), 'The same command with --resume sends them.')),
    );
  }

  private tell(tracker: Tracker, call: () => Promise<void>, next: string): Promise<void> {
    const { progress } = this.run;
    const told = call()
      .then(
        () => {
          if (this.behind.delete(tracker)) progress.log(`${tracker.name} has all metrics again.`);
        },
        (error: Error) => {
          if (!this.behind.has(tracker)) progress.log(`WARNING: ${tracker.name} lacks metrics: ${error.message}. ${next}`);
          this.behind.add(tracker);
        },
      )
      .finally(() => this.busy.delete(tracker));
    this.busy.set(tracker, told);
    return told;
  }
}
