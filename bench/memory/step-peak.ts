/**
 * Peak memory and time of a few compiled steps of a model, in a process of its own: a peak cannot be taken back.
 * As a program: `step-peak.ts <options as JSON>`, sends what it measured to its parent.
 */
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { DitConfig } from '@dit-moe/dit';
import { type Precision, tensorFlowBackend } from '@dit-moe/tensor-ops';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import { prepareModel, type Workload } from '../engine/model.js';
import { BenchmarkError } from '../harness/benchmark.js';
import { median } from '../harness/measure.js';
import { ownPeak } from '../harness/own-peak.js';

export interface StepOptions {
  workload: Workload;
  config: DitConfig;
  batch: number;
  precision: Precision;
  recompute?: boolean;
}

export interface StepPeak {
  /** Peak of the process beyond what it had before there was a model. */
  mebibytes: number;
  /** Median processor time of the steps after the first, of all threads: other programs change it less than the time by the clock. */
  seconds: number;
}

const STEPS = 3;

export function stepPeak(options: StepOptions): Promise<StepPeak> {
  return new Promise((resolve, reject) => {
    const child = fork(fileURLToPath(import.meta.url), [JSON.stringify(options)]);
    child.on('message', (peak) => resolve(peak as StepPeak));
    child.on('exit', (code, signal) => reject(new BenchmarkError(`The step ended early (${signal ?? `exit code ${code}`}).`)));
  });
}

if (process.send !== undefined && process.argv[1] === fileURLToPath(import.meta.url)) {
  const { workload, precision, ...model } = JSON.parse(process.argv[2]!) as StepOptions;
  await useTensorFlow();
  // Memory of bfloat16 products is asked for, also where the processor is slower with them.
  tensorFlowBackend()!.bf16Products = true;
  const start = ownPeak();
  const run = prepareModel(workload, precision, true, model);
  const seconds: number[] = [];
  for (let i = 0; i < STEPS; i++) {
    const began = process.cpuUsage();
    await run.step();
    const { user, system } = process.cpuUsage(began);
    seconds.push((user + system) / 1e6);
  }
  const peak: StepPeak = { mebibytes: ownPeak() - start, seconds: median(seconds.slice(1)) };
  process.send(peak, undefined, undefined, () => process.exit());
}
