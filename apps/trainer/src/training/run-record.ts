/** What a run knows beside its tensors. It is saved with them, so that a resumed run logs and decides as the uninterrupted one. */
import type { StepReport } from './state.js';

/** Gradient norms whose median a spike is measured against. */
const NORM_HISTORY = 64;

/** Sums over the steps since the last line of metrics. */
export interface MetricsWindow {
  steps: number;
  loss: number;
  balance: number;
  gradNorm: number;
}

/** Counters of a run; plain JSON. */
export interface RunRecord {
  /** Optimizer steps, counted from 1 after the first. */
  step: number;
  /** Global index of the next sample. It runs ahead of `step` where batches were passed over. */
  position: number;
  /** Steps that were skipped in all. */
  skipped: number;
  /** Steps in a row without a finite gradient. */
  badInARow: number;
  /** Restorations of a checkpoint because of such steps. */
  rollBacks: number;
  /** Norms of recent gradients, oldest first. */
  norms: number[];
  window: MetricsWindow;
  /** Recent losses of each timestep, oldest first, where the timesteps to come depend on them. */
  lossHistory?: readonly (readonly number[])[];
}

export const emptyWindow = (): MetricsWindow => ({ steps: 0, loss: 0, balance: 0, gradNorm: 0 });

export const newRecord = (): RunRecord => ({
  ...{ step: 0, position: 0, skipped: 0, badInARow: 0, rollBacks: 0, norms: [] },
  window: emptyWindow(),
});

/** Counts a step. */
export function countStep(record: RunRecord, report: StepReport, samples: number): void {
  record.step++;
  record.position += samples;
  record.badInARow = report.outcome === 'not finite' ? record.badInARow + 1 : 0;
  if (Number.isFinite(report.gradNorm)) record.norms = [...record.norms, report.gradNorm].slice(-NORM_HISTORY);
  if (report.outcome !== 'applied') {
    record.skipped++;
    return;
  }
  const { window } = record;
  window.steps++;
  window.loss += report.loss;
  window.balance += report.balance;
  window.gradNorm += report.gradNorm;
}

/**
 * The norm beyond which a gradient is a spike: `factor` times the median of recent norms; none before there are enough of them.
 * Skipped spikes count in the median, so that a lasting change of scale is accepted after half a history.
 */
export function spikeLimit({ norms }: RunRecord, factor: number | undefined): number {
  if (factor === undefined || norms.length < NORM_HISTORY / 4) return Number.POSITIVE_INFINITY;
  const sorted = norms.toSorted((a, b) => a - b);
  return factor * sorted[sorted.length >> 1];
}
