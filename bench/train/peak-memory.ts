/** Peak resident memory of `train`. */
import type { Precision } from '@dit-moe/tensor-ops';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import { train } from '../../apps/trainer/src/training/train.js';
import { ownPeak } from '../harness/own-peak.js';
import { answer, inOwnProcess } from '../harness/own-process.js';
import { latentsConfig } from './config.js';
import { silent } from './paused-training.js';

interface Request {
  latents: string;
  /** Folder of the run. */
  out: string;
  precision: Precision;
  steps: number;
}

/** MiB of the steps, and with the checkpoint that the run ends with. */
export interface TrainingPeak {
  steps: number;
  saved: number;
}

export const peakMemory = (request: Request): Promise<TrainingPeak> => inOwnProcess(import.meta.url, request);

await answer<Request>(import.meta.url, async ({ latents, out, precision, steps }) => {
  await useTensorFlow();
  let peak = 0;
  // Stopped before its end, at which a run makes a preview.
  const stop = new AbortController();
  const onStep = (step: number) => {
    if (step < steps) return;
    peak = ownPeak();
    stop.abort();
  };
  const { state } = await train(latentsConfig(latents, precision), { out, resume: false, progress: silent, signal: stop.signal, onStep });
  state.dispose();
  return { steps: peak, saved: ownPeak() };
});
