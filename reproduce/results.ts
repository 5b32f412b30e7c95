/** What has been measured: committed beside this file, so that the page is made without training anything. */
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import type { RunResult, StudyResults } from '../apps/trainer/src/study/results.js';
import { arms, base } from './claims.js';
import type { Frechet } from './frechet.js';
import type { Dependence } from './specialisation.js';

/** One training. */
export interface Measured extends RunResult {
  /** Of the settings: a result of others does not count. */
  settings: string;
  machine: StudyResults['machine'];
}

export interface Results {
  runs: Measured[];
  /** By layer, of the paper's mixture. */
  dependence?: readonly Dependence[];
  /** Of real images, and of samples of arms of one active size. */
  frechet?: readonly Frechet[];
  /** Of the real held-out images, what the classifier tells right. */
  classifier?: { accuracy: number; images: number };
}

export const resultsFile = path.join(import.meta.dirname, 'results.json');

/** Digest of everything that an arm is trained with. */
export const digestOf = (arm: string): string =>
  createHash('sha256')
    .update(JSON.stringify([base, arms[arm]]))
    .digest('hex')
    .slice(0, 12);

/** Results of the settings as they are now. */
export function readResults(file = resultsFile): Results {
  if (!fs.existsSync(file)) return { runs: [] };
  const results = JSON.parse(fs.readFileSync(file, 'utf8')) as Results;
  const isCurrent = ({ arm, settings }: { arm: string; settings: string }): boolean =>
    arms[arm] !== undefined && settings === digestOf(arm);
  const { frechet, runs } = results;
  const frechetHolds = frechet?.every(({ arm, settings }) => arm === undefined || isCurrent({ arm, settings: settings! }));
  return { ...results, runs: runs.filter(isCurrent), frechet: frechetHolds ? frechet : undefined };
}

/** In the order of the arms and seeds, so that a further result is a few further lines. */
export function writeResults(results: Results, file = resultsFile): void {
  const names = Object.keys(arms);
  const runs = [...results.runs].sort((a, b) => names.indexOf(a.arm) - names.indexOf(b.arm) || a.seed - b.seed);
  // Whole or not at all: an interruption must not cost what others have computed.
  fs.writeFileSync(`${file}.part`, `${JSON.stringify({ ...results, runs }, null, 1)}\n`);
  fs.renameSync(`${file}.part`, file);
}
