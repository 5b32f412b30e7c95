/**
 * What sampling costs beside the model: microseconds per step of the loops with a model that costs nothing, against diffusers'
 * schedulers, and their share of a forward pass of DiT-MoE-S/2-8E2A (256 px latents, batch 4).
 */
import os from 'node:os';
import {
  classifierFreeGuidance,
  type Denoiser,
  finish,
  flowModel,
  gaussianModel,
  type SolverName,
  sample,
  stepNoise,
} from '@dit-moe/diffusion';
import type { Precision } from '@dit-moe/tensor-ops';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs-core';
import { BATCH, MODEL, prepareModel } from './engine/model.js';
import { type BenchmarkOptions, type BenchmarkResult, result } from './harness/benchmark.js';
import { interleave, type Repetitions, type Timer, timer } from './harness/measure.js';
import { findPython, Peer } from './harness/peer.js';

export const description = 'overhead of the sampling loops against diffusers and as a share of a DiT-MoE-S/2-8E2A forward pass';

const SHAPE = [BATCH, 4, 32, 32];
const STEPS = 20;
/** Names as in the table of solvers; guided ones with classifier-free guidance on all channels. */
const LOOPS: readonly { solver: SolverName; gaussian?: boolean; guided?: boolean }[] = [
  { solver: 'euler' },
  { solver: 'euler', guided: true },
  { solver: 'heun' },
  { solver: 'ddim', gaussian: true },
  { solver: 'ddpm', gaussian: true },
  { solver: 'dpm++2m' },
  { solver: 'dpm++2m-sde' },
  { solver: 'unipc' },
];

export async function run({ quick, log }: BenchmarkOptions): Promise<BenchmarkResult[]> {
  const threads = os.availableParallelism();
  const runtime = await useTensorFlow({ threads });
  log(`TensorFlow ${runtime.version}, ${threads} threads, load average ${os.loadavg()[0].toFixed(2)}`);
  const python = findPython();
  const peer = python === undefined ? undefined : Peer.start(python, 'diffusion_schedulers.py', threads);
  const results: BenchmarkResult[] = [];
  const perStep = new Map<string, number>();
  const repetitions: Repetitions = quick ? { warmUp: 2, rounds: 4, perRound: 2 } : { warmUp: 5, rounds: 10, perRound: 4 };
  try {
    if (peer === undefined) log('No PyTorch: python3 cannot import torch, so there is no peer.');
    else log(`diffusers ${(await peer.request<{ version: string }>({ do: 'hello' })).version}`);
    for (const { solver, gaussian = false, guided = false } of LOOPS) {
      const name = `step-${solver}${guided ? '-guided' : ''}`;
      const sides: Timer[] = [ourLoop(solver, gaussian, guided)];
      if (peer !== undefined)
        sides.push(
          async (count) =>
            (await peer.request<{ seconds: number[] }>({ do: 'run', solver, steps: STEPS, shape: SHAPE, guided, count })).seconds,
        );
      const [own, other] = await interleave(sides, repetitions);
      perStep.set(name, own);
      results.push(result(name, 'us/step', 'less', own * 1e6, other === undefined ? null : other * 1e6));
      log(`${name}: ${(own * 1e6).toFixed(0)} us${other === undefined ? '' : `, diffusers ${(other * 1e6).toFixed(0)} us`}`);
    }
  } finally {
    peer?.stop();
  }
  for (const precision of ['f32', 'bf16'] as const) {
    const seconds = await forward(precision, quick);
    log(`forward of ${MODEL} in ${precision}, batch ${BATCH}: ${(seconds * 1e3).toFixed(1)} ms`);
    for (const [name, own] of perStep) results.push(result(`${name}-of-forward-${precision}`, '%', 'less', (100 * own) / seconds, null));
  }
  return results;
}

/** Seconds per step of one loop; its model gives the same tensor every time. */
function ourLoop(solver: SolverName, gaussian: boolean, guided: boolean): Timer {
  const start = tf.randomNormal(SHAPE, 0, 1, 'float32', 1);
  const channels = SHAPE[1] * (solver === 'ddpm' ? 2 : 1);
  const output = tf.fill([guided ? 2 * BATCH : BATCH, channels, ...SHAPE.slice(2)], 0.1);
  const free: Denoiser = () => output.clone();
  const labels = tf.tensor1d([1, 2, 3, 4], 'int32');
  const denoiser = guided ? classifierFreeGuidance(() => output.clone(), { labels, nullLabel: 1000, scale: 2 }) : free;
  const model = gaussian
    ? gaussianModel(denoiser, { varianceType: solver === 'ddpm' ? 'learned-range' : 'fixed-small' })
    : flowModel(denoiser);
  const noise = stepNoise(0, [0, 1, 2, 3], SHAPE.slice(1));
  const loop = timer(async () => {
    const x = await finish(sample(model, start, { solver, steps: STEPS, noise }));
    await x.data();
    x.dispose();
  });
  return async (count) => (await loop(count)).map((seconds) => seconds / STEPS);
}

/** Median seconds of a forward pass. */
async function forward(precision: Precision, quick: boolean): Promise<number> {
  const model = prepareModel('forward', precision, true);
  const [seconds] = await interleave([timer(() => model.step())], { warmUp: 2, rounds: quick ? 2 : 5, perRound: 2 });
  model.dispose();
  return seconds;
}
