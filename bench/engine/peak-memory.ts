/**
 * Peak resident memory of a few steps on our side, in a process of its own: a peak cannot be taken back.
 * As a program: `peak-memory.ts <workload> <precision> <threads> <steps>`, sends MiB to its parent.
 */
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Precision } from '@dit-moe/tensor-ops';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import { BenchmarkError } from '../harness/benchmark.js';
import { ownPeak } from '../harness/own-peak.js';
import { prepareModel, type Workload } from './model.js';

/** MiB of a fresh process that runs `steps` compiled steps. */
export function peakMemory(workload: Workload, precision: Precision, threads: number, steps: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = fork(fileURLToPath(import.meta.url), [workload, precision, String(threads), String(steps)]);
    child.on('message', (mebibytes) => resolve(mebibytes as number));
    child.on('exit', (code, signal) =>
      reject(new BenchmarkError(`The memory measurement ended early (${signal ?? `exit code ${code}`}).`)),
    );
  });
}

if (process.send !== undefined && process.argv[1] === fileURLToPath(import.meta.url)) {
  const [workload, precision, threads, steps] = process.argv.slice(2) as [Workload, Precision, string, string];
  await useTensorFlow({ threads: Number(threads) });
  const model = prepareModel(workload, precision, true);
  for (let i = 0; i < Number(steps); i++) await model.step();
  process.send(ownPeak(), undefined, undefined, () => process.exit());
}
