/**
 * Sampling as the sampler does it against PyTorch: DiT-MoE-S/2-8E2A, 256 px latents, batch 4, 50 Euler steps with classifier-free
 * guidance.
 *
 * A repetition takes a few of the 50 steps, whose cost does not depend on their place, and is scaled. The peer's step is one
 * forward pass of its fastest variant for both halves of the batch; the update of the latents is not charged to it.
 */
import os from 'node:os';
import { finish } from '@dit-moe/diffusion';
import { loadDit, type ModelCard, preset, weightSpecs } from '@dit-moe/dit';
import { Pipeline, roughSpace } from '@dit-moe/pipeline';
import { type Precision, randomNormal } from '@dit-moe/tensor-ops';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs-core';
import { BenchmarkError, type BenchmarkOptions, type BenchmarkResult, result } from './harness/benchmark.js';
import { ditVariants, fastestVariant } from './harness/fastest-variant.js';
import { interleave, type Timer, timer } from './harness/measure.js';
import { findPython, Peer } from './harness/peer.js';

export const name = 'sample';
export const description =
  'sampling DiT-MoE-S/2-8E2A: 50 Euler steps with guidance, guidance interval, against PyTorch; with a cache, against without';

const BATCH = 4;
const STEPS = 50;
/** Steps of a repetition. */
const TIMED_STEPS = 5;
/** Of the five times 1, 0.8, 0.6, 0.4, 0.2 two are inside. */
const INTERVAL: [number, number] = [0.3, 0.7];
const INSIDE = 2;
/** Initial weights would leave the blocks without influence. */
const WEIGHT_STD = 0.02;
/** Normals that are made; larger weights repeat them. */
const NORMALS = 2 ** 20;

/** Images of the section `cache`, which takes all the steps: which of them are computed depends on their places. */
const CACHE_BATCH = 1;

export async function run(options: BenchmarkOptions): Promise<BenchmarkResult[]> {
  const { only, log } = options;
  if (only !== undefined && only !== 'cache') throw new BenchmarkError(`There is no section "${only}": cache.`);
  const threads = os.availableParallelism();
  const runtime = await useTensorFlow({ threads });
  log(`TensorFlow ${runtime.version}, ${threads} threads, load average ${os.loadavg()[0].toFixed(2)}`);
  return [...(only === 'cache' ? [] : await againstPyTorch(threads, options)), ...(await cacheGain(options))];
}

async function againstPyTorch(threads: number, options: BenchmarkOptions): Promise<BenchmarkResult[]> {
  const { quick, log } = options;
  const python = findPython();
  if (python === undefined) log('No PyTorch: python3 cannot import torch, so there is no peer. Set DIT_MOE_PYTHON to a Python that can.');
  const peer = python === undefined ? undefined : Peer.start(python, 'dit_moe.py', threads);
  const results: BenchmarkResult[] = [];
  const add = (line: BenchmarkResult): void => {
    results.push(line);
    log(
      `${line.name}: ${line.value.toFixed(3)} ${line.unit}${line.peer === null ? '' : `, peer ${line.peer.toFixed(3)}, ratio ${line.ratio!.toFixed(2)}`}`,
    );
  };
  try {
    for (const precision of ['f32', 'bf16'] as const) {
      const request = { workload: 'forward', precision, batch: 2 * BATCH };
      const variant = peer && (await fastestVariant(peer, await ditVariants(peer, request, [false, true], quick), request, options));
      const model = await randomModel(precision);
      const sides: Timer[] = [timer(() => sampleSteps(model)), timer(() => sampleSteps(model, INTERVAL))];
      if (peer !== undefined) {
        await peer.request({ do: 'prepare', ...request, variant });
        sides.push(async (count) => {
          const { seconds } = await peer.request<{ seconds: number[] }>({ do: 'time', count: count * TIMED_STEPS });
          return Array.from({ length: count }, (_, i) => seconds.slice(i * TIMED_STEPS, (i + 1) * TIMED_STEPS).reduce((a, b) => a + b));
        });
      }
      const [full, limited, theirs] = await interleave(
        sides,
        quick ? { warmUp: 1, rounds: 2, perRound: 1 } : { warmUp: 1, rounds: 4, perRound: 1 },
      );
      await peer?.request({ do: 'release' });
      model.dispose();
      const rate = (seconds: number): number => (BATCH * TIMED_STEPS) / (STEPS * seconds);
      add(result(`sample-${precision}`, 'images/s', 'more', rate(full), theirs === undefined ? null : rate(theirs)));
      // Without guidance a step computes half as many images.
      const proportion = (INSIDE + (TIMED_STEPS - INSIDE) / 2) / TIMED_STEPS;
      add(result(`interval-time-${precision}`, 'of full', 'less', limited / full, proportion));
    }
  } finally {
    peer?.stop();
  }
  return results;
}

/** Our sampling with a cache in turns with our sampling without; all 50 steps, as the schedule depends on their places. */
async function cacheGain({ quick, log }: BenchmarkOptions): Promise<BenchmarkResult[]> {
  const model = await randomModel('f32');
  const images = Array.from({ length: CACHE_BATCH }, (_, index) => ({ label: index * 100, index }));
  const side = (cache?: 'fast' | 'exact'): Timer =>
    timer(async () => {
      const x = await finish(model.solve({ images, solver: 'euler', steps: STEPS, guidance: 4, seed: 0, ...(cache && { cache }) }));
      await x.data();
      x.dispose();
    });
  const [plain, ...skipping] = await interleave([side(), side('fast'), side('exact')], { warmUp: 1, rounds: quick ? 2 : 6, perRound: 1 });
  model.dispose();
  return skipping.map((seconds, i) => {
    const line = result(`sampling-cache-${['fast', 'exact'][i]}`, 'images/s', 'more', CACHE_BATCH / seconds, CACHE_BATCH / plain);
    log(`${line.name}: ${line.value.toFixed(3)} images/s, without a cache ${line.peer!.toFixed(3)}, ratio ${line.ratio!.toFixed(2)}`);
    return line;
  });
}

/** The published size with random weights. */
async function randomModel(precision: Precision): Promise<Pipeline> {
  const config = preset('S/2-8E2A');
  const classNames = Array.from({ length: config.numClasses }, (_, label) => String(label));
  const card: ModelCard = { config, objective: 'flow', timeScale: 1000, classNames, step: 0 };
  const normals = randomNormal({ seed: 1, purpose: 'bench', index: 0 }, NORMALS).map((v) => v * WEIGHT_STD);
  async function* weights(): AsyncGenerator<[string, { shape: readonly number[]; data: Float32Array }]> {
    for (const [weight, { shape }] of Object.entries(weightSpecs(config))) {
      const data = new Float32Array(tf.util.sizeFromShape(shape));
      for (let at = 0; at < data.length; at += NORMALS) data.set(normals.subarray(0, Math.min(NORMALS, data.length - at)), at);
      yield [weight, { shape, data }];
    }
  }
  return new Pipeline(await loadDit({ weights }, card, precision), roughSpace());
}

async function sampleSteps(pipeline: Pipeline, interval?: [number, number]): Promise<void> {
  const images = Array.from({ length: BATCH }, (_, index) => ({ label: index * 100, index }));
  const x = await finish(
    pipeline.solve({ images, solver: 'euler', steps: TIMED_STEPS, guidance: 4, seed: 0, ...(interval && { interval }) }),
  );
  await x.data();
  x.dispose();
}
