/** A place where teams look at metrics, beside the run's folder: what it is told, and when. */
import fs from 'node:fs/promises';
import path from 'node:path';
import type { TrainConfig } from '../config/schema.js';
import type { MetricsLine } from '../training/metrics-log.js';
import { scalarsOf } from '../training/scalars.js';

/** How a run came to its end. */
export type RunEnd = 'finished' | 'interrupted' | 'failed';

export interface Tracker {
  /** As messages call it. */
  readonly name: string;
  /** Brings it up to `step`, with all that it lacks of earlier steps. A call that failed is made good by the next. */
  update(step: number): Promise<void>;
  /** The run has gone back to `step`: others follow in place of what came after it. */
  rewind(step: number): Promise<void>;
  /** The last call. */
  finish(step: number, end: RunEnd): Promise<void>;
}

/** What trackers need of a run. */
export interface TrackedRun {
  /** Run folder. */
  out: string;
  config: TrainConfig;
  /** All lines of metrics so far. */
  lines(): readonly MetricsLine[];
  /** Tells the user. */
  say(message: string): void;
}

/** What a run is called: as set, else like its folder. */
export const nameOf = ({ out }: TrackedRun, { name }: { name?: string }): string => name ?? path.basename(path.resolve(out));

/** What there is to tell of one step. */
export interface Entry {
  step: number;
  /** When, in milliseconds since 1970; unknown of runs of earlier versions. */
  at?: number;
  scalars: Readonly<Record<string, number>>;
  /** File with the samples of the step, a PNG. */
  samples?: string;
}

const STEP_OF_SAMPLES = /^step-(\d+)\.png$/;

/** The entries of the steps after `from` up to `to`, from the lines and the samples in the folder of a run. */
export async function entriesOf(run: string, lines: readonly MetricsLine[], from: number, to: number): Promise<Entry[]> {
  const entries = new Map<number, Entry>();
  const wanted = (step: number): boolean => step > from && step <= to;
  for (const line of lines)
    if (wanted(line.step))
      entries.set(line.step, { step: line.step, ...(line.at !== undefined && { at: line.at }), scalars: scalarsOf(line) });
  const folder = path.join(run, 'samples');
  for (const name of await fs.readdir(folder).catch(() => [])) {
    const step = Number(STEP_OF_SAMPLES.exec(name)?.[1] ?? Number.NaN);
    const samples = path.join(folder, name);
    if (wanted(step)) entries.set(step, { ...(entries.get(step) ?? { step, at: (await fs.stat(samples)).mtimeMs, scalars: {} }), samples });
  }
  return [...entries.values()].sort((a, b) => a.step - b.step);
}
