/**
 * Peak resident memory of `train`, in a process of its own: a peak cannot be taken back.
 * As a program: `peak-memory.ts <latents> <run> <precision> <steps>`, sends MiB to its parent.
 */
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Precision } from '@dit-moe/tensor-ops';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import { train } from '../../apps/trainer/src/training/train.js';
import { BenchmarkError } from '../harness/benchmark.js';
import { ownPeak } from '../harness/own-peak.js';
import { latentsConfig } from './config.js';
import { silent } from './paused-training.js';

/** MiB of `steps` steps, and with the checkpoint that the run ends with. */
export interface TrainingPeak {
  steps: number;
  saved: number;
}

export function peakMemory(latents: string, run: string, precision: Precision, steps: number): Promise<TrainingPeak> {
  return new Promise((resolve, reject) => {
    const child = fork(fileURLToPath(import.meta.url), [latents, run, precision, String(steps)]);
    child.on('message', (peak) => resolve(peak as TrainingPeak));
    child.on('exit', (code, signal) =>
      reject(new BenchmarkError(`The memory measurement ended early (${signal ?? `exit code ${code}`}).`)),
    );
  });
}

if (process.send !== undefined && process.argv[1] === fileURLToPath(import.meta.url)) {
  const [latents, out, precision, count] = process.argv.slice(2) as [string, string, Precision, string];
  await useTensorFlow();
  let steps = 0;
  const config = latentsConfig(latents, precision);
  // Stopped before its end, at which a run makes a preview.
  const stop = new AbortController();
  const onStep = (step: number) => {
    if (step < Number(count)) return;
    steps = ownPeak();
    stop.abort();
  };
  const { state } = await train(config, { out, resume: false, progress: silent, signal: stop.signal, onStep });
  state.dispose();
  process.send({ steps, saved: ownPeak() }, undefined, undefined, () => process.exit());
}
