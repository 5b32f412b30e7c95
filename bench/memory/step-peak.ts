/** Peak memory and time of a few compiled steps of a model. */
import type { DitConfig } from '@dit-moe/dit';
import { type Precision, tensorFlowBackend } from '@dit-moe/tensor-ops';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import { prepareModel, type Workload } from '../engine/model.js';
import { median } from '../harness/measure.js';
import { ownPeak } from '../harness/own-peak.js';
import { answer, inOwnProcess } from '../harness/own-process.js';

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

export const stepPeak = (options: StepOptions): Promise<StepPeak> => inOwnProcess(import.meta.url, options);

await answer<StepOptions>(import.meta.url, async ({ workload, precision, ...model }): Promise<StepPeak> => {
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
  return { mebibytes: ownPeak() - start, seconds: median(seconds.slice(1)) };
});
