/** What a run knows beside its tensors. It is saved with them, so that a resumed run logs and decides as the uninterrupted one. */
import type { StepReport } from './state.js';

/** Gradient norms whose median a spike is measured against. */
const NORM_HISTORY = 64;

/** Sums over the steps since the last line of metrics. */
export interface MetricsWindow {
  steps: number;
  loss: number;
  balance: number;
  /** Further losses of the routers by name. */
  routerLosses: Readonly<Record<string, number>>;
  distillation?: Readonly<Record<string, number>>;
  gradNorm: number;
}

/** Counters of a run; plain JSON, never changed in place. */
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
  /** How much room the experts get, where they are shared out. */
  crowding?: number;
}

export const emptyWindow = (): MetricsWindow => ({ steps: 0, loss: 0, balance: 0, routerLosses: {}, distillation: {}, gradNorm: 0 });

export const newRecord = (): RunRecord => ({
  ...{ step: 0, position: 0, skipped: 0, badInARow: 0, rollBacks: 0, norms: [] },
  window: emptyWindow(),
});

/** The record after a step. */
export function countStep(
  record: RunRecord,
  { outcome, loss, balance, routerLosses, distillation, gradNorm }: StepReport,
  samples: number,
): RunRecord {
  const { window, norms } = record;
  const applied = outcome === 'applied';
  return {
    ...record,
    step: record.step + 1,
    position: record.position + samples,
    badInARow: outcome === 'not finite' ? record.badInARow + 1 : 0,
    norms: Number.isFinite(gradNorm) ? [...norms, gradNorm].slice(-NORM_HISTORY) : norms,
    skipped: record.skipped + (applied ? 0 : 1),
    window: applied
      ? {
          steps: window.steps + 1,
          loss: window.loss + loss,
          balance: window.balance + balance,
          routerLosses: added(window.routerLosses, routerLosses),
          distillation: added(window.distillation, distillation),
          gradNorm: window.gradNorm + gradNorm,
        }
      : window,
  };
}

/** Sums by name; a record of before there were any has none. */
const added = (sums: MetricsWindow['routerLosses'] = {}, values: MetricsWindow['routerLosses']): Record<string, number> =>
  Object.fromEntries(Object.entries(values).map(([name, value]) => [name, (sums[name] ?? 0) + value]));

/**
 * The norm beyond which a gradient is a spike: `factor` times the median of recent norms; none before there are enough of them.
 * Skipped spikes count in the median, so that a lasting change of scale is accepted after half a history.
 */
export function spikeLimit({ norms }: RunRecord, factor: number | undefined): number {
  if (factor === undefined || norms.length < NORM_HISTORY / 4) return Number.POSITIVE_INFINITY;
  const sorted = norms.toSorted((a, b) => a - b);
  return factor * sorted[sorted.length >> 1];
}
