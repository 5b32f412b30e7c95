/** Passes of the autoencoder at one size against PyTorch: ours, its fastest float32 form and its fastest bfloat16 form in turns. */
import os from 'node:os';
import type { Precision } from '@dit-moe/tensor-ops';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import { type BenchmarkOptions, type BenchmarkResult, result } from '../harness/benchmark.js';
import { fastestVariant } from '../harness/fastest-variant.js';
import { interleave, type Repetitions, type Timer, timer } from '../harness/measure.js';
import { findPython, Peer } from '../harness/peer.js';
import { type Half, prepareAutoencoder } from './model.js';

export const PEER_SCRIPT = 'vae.py';
/** One picture keeps two cores busy; more change the speed by little. */
export const BATCH = 1;
/** Edge at which the forms of the peer are compared: the fastest is taken for larger pictures, too. */
const TRIAL_SIZE = 128;
/** Forms of the peer. */
const EAGER = ['eager/nchw', 'eager/nhwc'];
const COMPILED = ['compile/nchw', 'compile/nhwc'];

export const precisions = ['f32', 'bf16'] as const satisfies readonly Precision[];

/**
 * Lines `<half>-<size>-<precision>`, and `-best`: our faster precision against the faster form of the peer.
 *
 * `precision: 'bf16'` of our side computes in float32 where the processor is not faster in bfloat16, which the log says.
 */
export async function passes(half: Half, size: number, options: BenchmarkOptions): Promise<BenchmarkResult[]> {
  const { log } = options;
  const threads = os.availableParallelism();
  const runtime = await useTensorFlow({ threads });
  log(`TensorFlow ${runtime.version}, ${threads} threads, load average ${os.loadavg()[0].toFixed(2)}`);
  const peer = await startPeer(threads, log);
  try {
    return await compare(half, size, peer, options);
  } finally {
    peer?.stop();
  }
}

async function startPeer(threads: number, log: (line: string) => void): Promise<Peer | undefined> {
  const python = findPython();
  if (python === undefined) {
    log('No PyTorch: python3 cannot import torch, so there is no peer. Set DIT_MOE_PYTHON to a Python that can.');
    return undefined;
  }
  const peer = Peer.start(python, PEER_SCRIPT, threads);
  const { version, diffusers } = await peer.request<{ version: string; diffusers: string }>({ do: 'hello' });
  log(`PyTorch ${version}, diffusers ${diffusers}`);
  return peer;
}

async function compare(half: Half, size: number, peer: Peer | undefined, options: BenchmarkOptions): Promise<BenchmarkResult[]> {
  const { quick, log } = options;
  const sides: Timer[] = [];
  for (const precision of peer === undefined ? [] : precisions) {
    const trial = { name: 'trial', part: half, size: TRIAL_SIZE, batch: BATCH, precision };
    const variant = await fastestVariant(peer!, quick ? EAGER : [...EAGER, ...COMPILED], trial, options);
    await peer!.request({ do: 'prepare', name: precision, part: half, size, batch: BATCH, precision, variant });
    sides.push(async (count) => (await peer!.request<{ seconds: number[] }>({ do: 'time', name: precision, count })).seconds);
  }
  const models = [prepareAutoencoder(half, size, BATCH, 'f32')];
  const other = prepareAutoencoder(half, size, BATCH, 'bf16');
  if (other.precision === 'bf16') models.push(other);
  else other.dispose();
  log(`  ours with bf16 allowed: computes in ${other.precision}`);
  const turns: Repetitions = { warmUp: 1, rounds: (quick ? 2 : 4) / (size > 256 ? 2 : 1), perRound: 1 };
  const seconds = await interleave([...models.map((model) => timer(() => model.step())), ...sides], turns);
  for (const model of models) model.dispose();
  const ours = seconds.slice(0, models.length);
  const theirs = seconds.slice(models.length);
  const line = (name: string, own: number, rival: number | undefined): BenchmarkResult => {
    const entry = result(`${half}-${size}-${name}`, 'images/s', 'more', BATCH / own, rival === undefined ? null : BATCH / rival);
    log(
      `${entry.name}: ${entry.value.toFixed(3)} images/s${entry.peer === null ? '' : `, peer ${entry.peer.toFixed(3)}, ratio ${entry.ratio!.toFixed(2)}`}`,
    );
    return entry;
  };
  const least = (values: number[]): number | undefined => (values.length === 0 ? undefined : Math.min(...values));
  return [line('f32', ours[0], theirs[0]), line('bf16', ours.at(-1)!, theirs[1]), line('best', least(ours)!, least(theirs))];
}
