/**
 * Dispatchers at the shapes of DiT-MoE S, B and XL against PyTorch: the mask loop (the reference's algorithm), sorted slices and the
 * grouped matrix product; even and uneven load, forward and forward with backward, f32 and bf16. Then the cost of more experts at equal
 * active work, and that of telemetry.
 *
 * Only the routed experts are timed, the choice of experts is given. Every peer is timed in turns with every dispatcher of ours.
 */
import os from 'node:os';
import { linearScorer, RoutingTelemetry, route, routedExperts } from '@dit-moe/moe';
import { compile } from '@dit-moe/tensor-ops';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs-core';
import { BenchmarkError, type BenchmarkOptions, type BenchmarkResult, result } from './harness/benchmark.js';
import { interleave, type Repetitions, type Timer, timer } from './harness/measure.js';
import { findPython, Peer } from './harness/peer.js';
import { chooseExperts, dispatchers, imbalance, type LayerCase, LayerTensors } from './moe/layer.js';

export const name = 'moe';
export const description = 'dispatchers at the shapes of DiT-MoE S, B, XL; against a PyTorch mask loop and grouped products';

/** Model width and tokens: 8, 4 and 2 images of 256 px. */
const shapes = { S: { width: 384, tokens: 2048 }, B: { width: 768, tokens: 1024 }, XL: { width: 1152, tokens: 512 } };
const loads = { even: 1, uneven: 0.7 };

export async function run(options: BenchmarkOptions): Promise<BenchmarkResult[]> {
  const { quick, log } = options;
  const threads = os.availableParallelism();
  const runtime = await useTensorFlow({ threads });
  log(`TensorFlow ${runtime.version}, ${threads} threads, load average ${os.loadavg()[0]!.toFixed(2)}`);
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
    const repetitions: Repetitions = quick ? { warmUp: 1, rounds: 2, perRound: 1 } : { warmUp: 1, rounds: 4, perRound: 1 };
    results.push(await telemetryCost(repetitions, log), ...(await moreExperts(repetitions, log)));
    // Briefly, the smallest and the largest.
    const sizes = Object.entries(shapes).filter(([size]) => !(quick && size === 'B'));
    for (const [size, { width, tokens }] of sizes)
      for (const [load, skew] of Object.entries(loads))
        for (const precision of ['f32', 'bf16'] as const)
          for (const workload of ['forward', 'train'] as const) {
            const layer = { tokens, width, hidden: 4 * width, numExperts: 8, topK: 2, precision, workload };
            const indices = chooseExperts(tokens, 8, 2, skew);
            log(`${size}, load ${load} (largest over mean ${imbalance(indices, 8).toFixed(2)}), ${precision}, ${workload}`);
            results.push(
              ...(await compareAll(`${size}-${load}-${workload}-${precision}`, { ...layer, indices }, peer, repetitions, options)),
            );
          }
  } finally {
    peer?.stop();
  }
  return results;
}

/** Each dispatcher against the fastest peer, the fastest dispatcher against each peer. */
async function compareAll(
  label: string,
  layer: LayerCase,
  peer: Peer | undefined,
  repetitions: Repetitions,
  { quick, log }: BenchmarkOptions,
): Promise<BenchmarkResult[]> {
  const tensors = new LayerTensors(layer);
  // At these sizes dense is several times slower than all others.
  const tried = Object.entries(dispatchers).filter(([name]) => !(quick && name === 'dense'));
  const steps = tried.map(([name, dispatcher]) => ({ name, ...tensors.step(dispatcher) }));
  const algorithms = peer === undefined ? [] : ['mask loop', 'sorted', ...(layer.precision === 'bf16' ? ['grouped'] : [])];
  for (const algorithm of algorithms) await peer!.request({ do: 'prepare', algorithm, ...layer });
  const theirs = algorithms.map(
    (algorithm): Timer =>
      async (count) =>
        (await peer!.request<{ seconds: number[] }>({ do: 'time', algorithm, count })).seconds,
  );
  const seconds = await interleave([...steps.map(({ run }) => timer(run)), ...theirs], repetitions);
  await peer?.request({ do: 'release' });
  for (const step of steps) step.dispose();
  tensors.dispose();
  const milliseconds = seconds.map((s) => s * 1000);
  const ours = milliseconds.slice(0, steps.length);
  const peers = milliseconds.slice(steps.length);
  log(`  ${[...steps.map(({ name }) => name), ...algorithms].map((name, i) => `${name} ${milliseconds[i]!.toFixed(0)} ms`).join(', ')}`);
  // Dropping tokens is less work, so static capacity does not compete.
  const best = Math.min(...ours.filter((_, i) => steps[i]!.name !== 'capacity'));
  const fastest = peers.length === 0 ? null : Math.min(...peers);
  return [
    ...steps.map(({ name }, i) => result(`${label}/${name}`, 'ms', 'less', ours[i]!, fastest)),
    ...algorithms.map((algorithm, i) => result(`${label}/best vs ${algorithm}`, 'ms', 'less', best, peers[i]!)),
  ];
}

/** Cost per token of 64 experts over that of 8 with the same two active ones. */
async function moreExperts(repetitions: Repetitions, log: (line: string) => void): Promise<BenchmarkResult[]> {
  const results: BenchmarkResult[] = [];
  for (const precision of ['f32', 'bf16'] as const)
    for (const workload of ['forward', 'train'] as const) {
      const [tokens, width] = [8192, 384];
      const sides = [8, 64].map((numExperts) => {
        const indices = chooseExperts(tokens, numExperts, 2, 1);
        const tensors = new LayerTensors({ tokens, width, hidden: 4 * width, numExperts, topK: 2, precision, workload, indices });
        return { tensors, step: tensors.step(dispatchers['slices']!) };
      });
      const [few, many] = (await interleave(
        sides.map(({ step }) => timer(() => step.run())),
        repetitions,
      )) as [number, number];
      for (const { tensors, step } of sides) {
        step.dispose();
        tensors.dispose();
      }
      log(`64 experts instead of 8, ${precision}, ${workload}: ${(few * 1000).toFixed(0)} ms to ${(many * 1000).toFixed(0)} ms`);
      results.push(result(`64 experts-${workload}-${precision}`, 'us/token', 'less', (many * 1e6) / tokens, (few * 1e6) / tokens));
    }
  return results;
}

/** One layer's forward and backward with telemetry over the same without. */
async function telemetryCost(repetitions: Repetitions, log: (line: string) => void): Promise<BenchmarkResult> {
  const [batch, tokens, width, numExperts] = [8, 256, 384, 8];
  const hidden = 4 * width;
  const inputs = [
    [batch * tokens, width],
    [width, numExperts],
    [numExperts, width, 2 * hidden],
    [numExperts, hidden, width],
  ].map((shape, i) => tf.tidy(() => tf.mul(tf.randomNormal(shape, 0, 1, 'float32', i), i === 0 ? 1 : 0.02)));
  const timesteps = tf.range(0, 1000, 125);
  const telemetry = new RoutingTelemetry({ layers: 1, numExperts, tokens });
  const sides = [false, true].map((counted) =>
    compile((...xs: tf.Tensor[]) => {
      const plan = route(xs[0]!, linearScorer(xs[1]!), { numExperts, topK: 2 });
      if (counted) telemetry.update([plan], { timesteps });
      return tf.grads((x, gate, gateUp, down) => {
        const again = route(x!, linearScorer(gate!), { numExperts, topK: 2 });
        return routedExperts(x!, again, { gateUp: gateUp!, down: down! }).output;
      })(xs);
    }),
  );
  const runs = sides.map((fn) => timer(async () => tf.dispose(await fn.run(...inputs))));
  const [without, counted] = (await interleave(runs, { ...repetitions, rounds: 4 * repetitions.rounds })) as [number, number];
  for (const fn of sides) fn.dispose();
  telemetry.dispose();
  tf.dispose([...inputs, timesteps]);
  log(`telemetry: ${(without * 1000).toFixed(1)} ms to ${(counted * 1000).toFixed(1)} ms`);
  return result('S-telemetry', 'ms', 'less', counted * 1000, without * 1000);
}

/** Both sides must compute the same before their times mean anything. */
async function checkAgreement(peer: Peer): Promise<void> {
  const [tokens, width, hidden, numExperts] = [16, 8, 12, 4];
  const fill = (shape: number[], salt: number) =>
    tf.tensor(
      Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, i) => Math.sin(12.9898 * (i + 1) + 78.233 * salt)),
      shape,
    );
  const indices = tf.tensor(chooseExperts(tokens, numExperts, 2, 0.8), [tokens, 2], 'int32');
  const given = {
    x: fill([tokens, width], 1),
    weights: fill([tokens, 2], 2),
    gateUp: fill([numExperts, width, 2 * hidden], 3),
    down: fill([numExperts, hidden, width], 4),
  };
  const plain = Object.fromEntries(
    Object.entries({ ...given, indices }).map(([key, t]) => [key, { shape: t.shape, data: Array.from(t.dataSync()) }]),
  );
  const { outputs } = await peer.request<{ outputs: number[][] }>({ do: 'check', ...plain });
  const ours = routedExperts(given.x, { indices, weights: given.weights, numExperts, full: true }, given).output.dataSync();
  for (const theirs of outputs) {
    const worst = theirs.reduce((m, v, i) => Math.max(m, Math.abs(v - ours[i]!)), 0);
    if (!(worst < 1e-4)) throw new BenchmarkError(`The two sides compute different outputs: largest difference ${worst}.`);
  }
}
