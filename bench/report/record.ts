/** What a report of the speed keeps: small enough to lie beside the pages for years. */
import fs from 'node:fs';
import path from 'node:path';
import type { BenchmarkResult } from '../harness/benchmark.js';

/** A line of the report. */
export interface ReportRow extends BenchmarkResult {
  section: string;
  /** What the peer is, such as PyTorch. */
  against: string;
  /** Of the code that was measured; `-dirty` at its end means with changes. */
  commit: string;
  /** Time of the step's matrix products alone as a share of the step's time, where it has products of its own. */
  share?: number;
}

/** All sections as they were measured last on a day, on one machine. */
export interface SpeedRecord {
  /** Day, as `2026-11-30`. */
  date: string;
  processor: string;
  /** That decide how fast products are, as Linux names them. */
  instructions: readonly string[];
  cores: number;
  gibibytes: number;
  /** Of Node, TensorFlow and, where there is one, PyTorch. */
  versions: Record<string, string>;
  /** Load average of the last minute before the first section. */
  load: number;
  /** Of all runs. */
  minutes: number;
  rows: readonly ReportRow[];
  /** Sections that ended with an error, and its first line. */
  failed: readonly { section: string; reason: string }[];
}

/** What a machine is called in the names of files, for example `intel-xeon-2-cores`. */
export const machineName = ({ processor, cores }: Pick<SpeedRecord, 'processor' | 'cores'>): string =>
  `${processor
    .replaceAll(/\((r|tm)\)|\b(cpu|processor|\d+-core)\b|@.*/gi, ' ')
    .toLowerCase()
    .split(/[^a-z0-9]+/)
    .filter(Boolean)
    .join('-')}-${cores}-cores`;

/** All records of a folder, oldest first; none if there is no folder yet. */
export function readRecords(folder: string): SpeedRecord[] {
  if (!fs.existsSync(folder)) return [];
  return fs
    .readdirSync(folder)
    .filter((name) => /^\d{4}-\d\d-\d\d-.*\.json$/.test(name))
    .toSorted()
    .map((name) => JSON.parse(fs.readFileSync(path.join(folder, name), 'utf8')) as SpeedRecord);
}

/**
 * A record with the sections of an earlier run of the day on the machine that it has not measured again.
 * @param order of the sections
 */
export function withEarlier(record: SpeedRecord, earlier: SpeedRecord, order: readonly string[]): SpeedRecord {
  const again = new Set([...record.rows, ...record.failed].map(({ section }) => section));
  const kept = <T extends { section: string }>(before: readonly T[], now: readonly T[]): T[] =>
    [...before.filter(({ section }) => !again.has(section)), ...now].toSorted(
      (a, b) => order.indexOf(a.section) - order.indexOf(b.section),
    );
  return {
    ...record,
    versions: { ...earlier.versions, ...record.versions },
    load: Math.max(record.load, earlier.load),
    minutes: record.minutes + earlier.minutes,
    rows: kept(earlier.rows, record.rows),
    failed: kept(earlier.failed, record.failed),
  };
}
