/** Peak resident memory of a few steps on our side. */
import type { InferencePrecision } from '@dit-moe/tensor-ops';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import { ownPeak } from '../harness/own-peak.js';
import { answer, inOwnProcess } from '../harness/own-process.js';
import { prepareModel, type Workload } from './model.js';

interface Request {
  workload: Workload;
  precision: InferencePrecision;
  threads: { threads: number; interOpThreads?: number };
  /** Compiled steps. */
  steps: number;
}

/** MiB of a fresh process. */
export const peakMemory = (request: Request): Promise<number> => inOwnProcess(import.meta.url, request);

await answer<Request>(import.meta.url, async ({ workload, precision, threads, steps }) => {
  await useTensorFlow(threads);
  const model = prepareModel(workload, precision, true);
  for (let i = 0; i < steps; i++) await model.step();
  return ownPeak();
});
