/** For tests: the folder of a run with lines of metrics and samples, without a training. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { encode } from 'fast-png';
import { resolveConfig } from '../../config/resolve.js';
import type { MetricsLine } from '../../training/metrics-log.js';
import type { TrackedRun } from '../tracker.js';

/** A line at step `step`, with a loss of 1 / step. */
export const lineOf = (step: number, more: Partial<MetricsLine> = {}): MetricsLine => ({
  ...{ step, at: 1_700_000_000_000 + 1000 * step, loss: 1 / step, balance: 1, gradNorm: 2, learningRate: 1e-3, imagesPerSecond: 100 },
  ...{ stall: 0, memory: 500, skipped: 0, routing: [], ...more },
});

export interface FolderOfRun extends TrackedRun {
  lines(): MetricsLine[];
  said: string[];
  addSamples(step: number): void;
  remove(): void;
}

export function makeRunFolder(): FolderOfRun {
  const out = fs.mkdtempSync(path.join(os.tmpdir(), 'tracked-'));
  const lines: MetricsLine[] = [];
  const said: string[] = [];
  fs.mkdirSync(path.join(out, 'samples'));
  const png = encode({ data: new Uint8Array(6), width: 3, height: 2, channels: 1, depth: 8 });
  return {
    ...{ out, said, config: resolveConfig({ preset: 'digits' }), lines: () => lines, say: (message) => void said.push(message) },
    addSamples: (step) => fs.writeFileSync(path.join(out, 'samples', `step-${String(step).padStart(8, '0')}.png`), png),
    remove: () => fs.rmSync(out, { recursive: true }),
  };
}
