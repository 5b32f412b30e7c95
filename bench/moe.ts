/**
 * The mixture-of-experts layer on this machine, in sections (`--only S`):
 *
 * - `S`, `B`, `XL`: every dispatcher at the shapes of DiT-MoE against PyTorch (the mask loop, which is the reference's algorithm, sorted
 *   slices and the grouped matrix product) and against the matrix products alone; three loads, forward and forward with backward, f32
 *   and bf16. Only the routed experts are timed, the choices of experts are given.
 * - `experts`: the cost of more experts at equal active work.
 * - `auto`: what the dispatcher `auto` chooses against the fastest.
 * - `routers`: a block with every router of the configuration at equal active work.
 * - `telemetry`: a training step of DiT-MoE-S/2 with and without counters.
 */
import os from 'node:os';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import { BenchmarkError, type BenchmarkOptions, type BenchmarkResult, result } from './harness/benchmark.js';
import { interleave, type Repetitions, type Timer, timer } from './harness/measure.js';
import { findPython, Peer } from './harness/peer.js';
import { checkAgreement } from './moe/agreement.js';
import { autoChoice } from './moe/auto.js';
import { chooseExperts, dispatchers, imbalance, type LayerCase, LayerTensors } from './moe/layer.js';
import { moreExperts } from './moe/more-experts.js';
import { routerCost } from './moe/routers.js';
import { telemetryCost } from './moe/telemetry.js';

export const name = 'moe';
export const description = 'dispatchers at the shapes of DiT-MoE S, B, XL against PyTorch; more experts; auto; routers; telemetry';
const sections = ['S', 'B', 'XL', 'experts', 'auto', 'routers', 'telemetry'];

/** Model width and tokens: 8, 4 and 2 images of 256 px. */
const shapes: Record<string, { width: number; tokens: number }> = {
  S: { width: 384, tokens: 2048 },
  B: { width: 768, tokens: 1024 },
  XL: { width: 1152, tokens: 512 },
};
/** A router chooses anew in every pass, so each run has another choice of the same skew, on both sides. */
const CHOICES = 32;
/** Skew of the choice; with `one`, every token goes to the same two experts, and each of them has all tokens. */
const loads = { even: 1, skewed: 0.7, one: 1e-9 };

export async function run(options: BenchmarkOptions): Promise<BenchmarkResult[]> {
  const { quick, only, log } = options;
  if (only !== undefined && !sections.includes(only)) throw new BenchmarkError(`There is no section "${only}": ${sections.join(', ')}.`);
  const threads = os.availableParallelism();
  const runtime = await useTensorFlow({ threads });
  log(`TensorFlow ${runtime.version}, ${threads} threads, load average ${os.loadavg()[0].toFixed(2)}`);
  const repetitions: Repetitions = quick ? { warmUp: 1, rounds: 2, perRound: 1 } : { warmUp: 1, rounds: 4, perRound: 1 };
  const results: BenchmarkResult[] = [];
  for (const section of only === undefined ? sections : [only]) {
    if (shapes[section] !== undefined) results.push(...(await compareShape(section, threads, repetitions, options)));
    else if (section === 'experts') results.push(...(await moreExperts(repetitions, log)));
    else if (section === 'auto') results.push(...(await autoChoice(repetitions, log)));
    else if (section === 'routers') results.push(...(await routerCost({ ...repetitions, rounds: 2 * repetitions.rounds }, log)));
    else results.push(...(await telemetryCost({ ...repetitions, rounds: 2 * repetitions.rounds }, log)));
  }
  return results;
}

/** All loads, workloads and precisions of one model size. */
async function compareShape(
  size: string,
  threads: number,
  repetitions: Repetitions,
  options: BenchmarkOptions,
): Promise<BenchmarkResult[]> {
  const { log } = options;
  const { width, tokens } = shapes[size];
  const python = findPython();
  const peer = python === undefined ? undefined : Peer.start(python, 'moe.py', threads);
  if (peer === undefined) log('No PyTorch: python3 cannot import torch, so there is no peer. Set DIT_MOE_PYTHON to a Python that can.');
  const results: BenchmarkResult[] = [];
  try {
    if (peer !== undefined) {
      const hello = await peer.request<{ version: string; threads: number }>({ do: 'hello' });
      log(`PyTorch ${hello.version}, ${hello.threads} threads`);
      await checkAgreement(peer);
    }
    for (const [load, skew] of Object.entries(loads))
      for (const precision of ['f32', 'bf16'] as const)
        for (const workload of ['forward', 'train'] as const) {
          const choices = Array.from({ length: CHOICES }, (_, seed) => chooseExperts(tokens, 8, 2, skew, seed));
          const layer = { tokens, width, hidden: 4 * width, numExperts: 8, topK: 2, precision, workload, choices };
          log(`${size}, load ${load} (largest over mean ${imbalance(choices[0], 8).toFixed(2)}), ${precision}, ${workload}`);
          results.push(...(await compareAll(`${size}-${load}-${workload}-${precision}`, layer, peer, repetitions, options)));
        }
  } finally {
    peer?.stop();
  }
  return results;
}

/** Each dispatcher against the fastest peer, the fastest dispatcher against each peer and against the products alone. */
async function compareAll(
  label: string,
  layer: LayerCase,
  peer: Peer | undefined,
  repetitions: Repetitions,
  { log }: BenchmarkOptions,
): Promise<BenchmarkResult[]> {
  const tensors = new LayerTensors(layer);
  // At these sizes dense is several times slower than all others, which one case shows.
  const tried = Object.entries(dispatchers).filter(([name]) => name !== 'dense' || label === 'S-even-forward-f32');
  const steps = tried.map(([name, dispatcher]) => ({ name, ...tensors.step(dispatcher) }));
  const products = tensors.products();
  const algorithms = peer === undefined ? [] : ['mask loop', 'sorted', ...(layer.precision === 'bf16' ? ['grouped'] : [])];
  for (const algorithm of algorithms) await peer!.request({ do: 'prepare', algorithm, ...layer });
  const theirs = algorithms.map(
    (algorithm): Timer =>
      async (count) =>
        (await peer!.request<{ seconds: number[] }>({ do: 'time', algorithm, count })).seconds,
  );
  const sides = [...steps.map(({ run }) => timer(run)), timer(products.run), ...theirs];
  const milliseconds = (await interleave(sides, repetitions)).map((s) => s * 1000);
  await peer?.request({ do: 'release' });
  for (const side of [...steps, products]) side.dispose();
  tensors.dispose();
  const ours = milliseconds.slice(0, steps.length);
  const alone = milliseconds[steps.length];
  const peers = milliseconds.slice(steps.length + 1);
  const names = [...steps.map(({ name }) => name), 'products alone', ...algorithms];
  log(`  ${names.map((name, i) => `${name} ${milliseconds[i].toFixed(0)} ms`).join(', ')}`);
  // Dropping tokens is less work, so static capacity does not compete.
  const best = Math.min(...ours.filter((_, i) => steps[i].name !== 'capacity'));
  const fastest = peers.length === 0 ? null : Math.min(...peers);
  return [
    ...steps.map(({ name }, i) => result(`${label}/${name}`, 'ms', 'less', ours[i], fastest)),
    result(`${label}/best vs products alone`, 'ms', 'less', best, alone),
    ...algorithms.map((algorithm, i) => result(`${label}/best vs ${algorithm}`, 'ms', 'less', best, peers[i])),
  ];
}
