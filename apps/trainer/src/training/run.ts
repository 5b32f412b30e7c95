/** What the parts of a training run share. */
import type { ModelCard } from '@dit-moe/dit';
import type { TrainConfig } from '../config/schema.js';
import type { DataSource } from '../data/source.js';
import type { Progress } from '../run/progress.js';
import type { Ranks } from './ranks.js';
import type { RunRecord } from './run-record.js';
import type { TrainingState } from './state.js';

export interface Run {
  /** Run folder. */
  readonly out: string;
  readonly config: TrainConfig;
  readonly card: ModelCard;
  readonly source: DataSource;
  /** On rank 0, if the held-out loss is measured: what it is measured on. */
  readonly heldOut: DataSource | undefined;
  readonly state: TrainingState;
  readonly progress: Progress;
  /** The processes that train together. */
  readonly ranks: Ranks;
  /** Aborted when the run shall end after the current step, with a checkpoint. */
  readonly signal: AbortSignal;
  /** What the run knows beside its tensors, and saves with them. */
  record: RunRecord;
  /** Since the last line of metrics; the clock is not resumed. */
  timing: Timing;
}

export interface Timing {
  /** Milliseconds in steps. */
  busyMs: number;
  /** Of these, waiting for data. */
  waitedMs: number;
  /** Handing inputs to the device. */
  transferMs: number;
  /** Computing on the device; the rest of the steps is the host's. */
  computeMs: number;
  /** Samples in the steps. */
  images: number;
}

export const newTiming = (): Timing => ({ busyMs: 0, waitedMs: 0, transferMs: 0, computeMs: 0, images: 0 });
