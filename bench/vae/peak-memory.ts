/** Peak resident memory of a few passes on our side. */
import type { Precision } from '@dit-moe/tensor-ops';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import { ownPeak } from '../harness/own-peak.js';
import { answer, inOwnProcess } from '../harness/own-process.js';
import { type Half, prepareAutoencoder } from './model.js';

interface Request {
  half: Half;
  size: number;
  batch: number;
  precision: Precision;
  threads: number;
  passes: number;
}

/** MiB of a fresh process. */
export const peakMemory = (request: Request): Promise<number> => inOwnProcess(import.meta.url, request);

await answer<Request>(import.meta.url, async ({ half, size, batch, precision, threads, passes }) => {
  await useTensorFlow({ threads });
  const model = prepareAutoencoder(half, size, batch, precision);
  for (let i = 0; i < passes; i++) await model.step();
  return ownPeak();
});
