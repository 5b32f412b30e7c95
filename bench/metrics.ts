/**
 * What an evaluation costs: Inception features of 256 px pictures per second, and a Frechet distance of 2048 dimensions on the
 * runtime and in TypeScript alone, against PyTorch and SciPy.
 *
 * The peer is its fastest variant (layout, TorchScript or torch.compile; SciPy's or PyTorch's symmetric eigenvalues), chosen by
 * timing each alone before. The matrix square root of SciPy, which the usual evaluators take, is a line of its own.
 */
import os from 'node:os';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import { type BenchmarkOptions, type BenchmarkResult, result } from './harness/benchmark.js';
import { interleave, median, type Repetitions, type Timer, timer } from './harness/measure.js';
import { findPython, Peer } from './harness/peer.js';
import { DIMENSION, prepareFrechet } from './metrics/frechet.js';
import { prepareInception, SIDE } from './metrics/inception.js';

export const description = 'Inception features of 256 px pictures, Frechet distance of 2048 dimensions; against PyTorch and SciPy';

const BATCH = 8;
const NETWORKS = ['eager/nchw', 'eager/nhwc', 'script/nchw', 'script/nhwc', 'compile/nhwc'];
/** The same mathematics as ours, and what pytorch-fid and ADM's evaluator do. */
const DISTANCES = ['scipy-eigvalsh', 'torch-eigvalsh'];
const SQUARE_ROOT = 'scipy-sqrtm';

export async function run({ quick, log }: BenchmarkOptions): Promise<BenchmarkResult[]> {
  const threads = os.availableParallelism();
  const runtime = await useTensorFlow({ threads });
  log(`TensorFlow ${runtime.version}, ${threads} threads, load average ${os.loadavg()[0].toFixed(2)}`);
  const python = findPython();
  const peer = python === undefined ? undefined : Peer.start(python, 'metrics.py', threads);
  const results: BenchmarkResult[] = [];
  const add = (line: BenchmarkResult): void => {
    results.push(line);
    const against = line.peer === null ? '' : `, peer ${line.peer.toFixed(2)}, ratio ${line.ratio!.toFixed(2)}`;
    log(`${line.name}: ${line.value.toFixed(2)} ${line.unit}${against} (load average ${os.loadavg()[0].toFixed(2)})`);
  };
  try {
    if (peer === undefined) log('No PyTorch: python3 cannot import torch, so there is no peer. Set DIT_MOE_PYTHON to a Python that can.');
    else {
      const { version, scipy } = await peer.request<{ version: string; scipy: string }>({ do: 'hello' });
      log(`PyTorch ${version}, SciPy ${scipy}`);
    }
    const inception = await prepareInception(BATCH);
    const networks = quick ? NETWORKS.filter((variant) => !variant.startsWith('compile')) : NETWORKS;
    const network = await fastest(peer, networks, (variant) => ({ do: 'inception', variant, size: SIDE, batch: BATCH }), log);
    const [own, theirs] = await compare(timer(inception.step), peer, network, quick ? QUICK : FULL);
    inception.dispose();
    add(result(`inception-${SIDE}px-batch-${BATCH}`, 'images/s', 'more', BATCH / own, theirs === undefined ? null : BATCH / theirs));

    const frechet = prepareFrechet();
    const prepare = (variant: string): Request => ({ do: 'frechet', variant, dimension: DIMENSION });
    const distance = await fastest(peer, DISTANCES, prepare, log);
    const [seconds, other] = await compare(timer(frechet.onRuntime), peer, distance, quick ? QUICK : FULL);
    add(result(`frechet-${DIMENSION}`, 's', 'less', seconds, other ?? null));
    if (peer !== undefined) {
      const [again, root] = await compare(timer(frechet.onRuntime), peer, prepare(SQUARE_ROOT), { warmUp: 0, rounds: 2, perRound: 1 });
      add(result(`frechet-${DIMENSION}-against-sqrtm`, 's', 'less', again, root));
    }
    const [portable] = await interleave([timer(frechet.inTypeScript)], { warmUp: 0, rounds: quick ? 1 : 3, perRound: 1 });
    add(result(`frechet-${DIMENSION}-typescript-one-thread`, 's', 'less', portable, null));
  } finally {
    peer?.stop();
  }
  return results;
}

const FULL: Repetitions = { warmUp: 1, rounds: 6, perRound: 1 };
const QUICK: Repetitions = { warmUp: 1, rounds: 2, perRound: 1 };

type Request = { do: string } & Record<string, unknown>;

/** Times each variant of the peer alone; what prepares the fastest one, `undefined` without a peer. */
async function fastest(
  peer: Peer | undefined,
  variants: readonly string[],
  prepare: (variant: string) => Request,
  log: (line: string) => void,
): Promise<Request | undefined> {
  if (peer === undefined) return undefined;
  let best: { request: Request; seconds: number } | undefined;
  for (const variant of variants) {
    try {
      await peer.request(prepare(variant));
      const { seconds } = await peer.request<{ seconds: number[] }>({ do: 'time', count: 1 });
      log(`  peer ${variant}: ${median(seconds).toFixed(2)} s`);
      if (best === undefined || median(seconds) < best.seconds) best = { request: prepare(variant), seconds: median(seconds) };
    } catch (error) {
      log(`  peer ${variant} failed: ${(error as Error).message.split('\n')[0]}`);
    }
  }
  if (best === undefined) throw new Error('No variant of the peer ran.');
  return best.request;
}

/** Seconds of our side and, if there is one, of the peer, in turns. */
async function compare(ours: Timer, peer: Peer | undefined, request: Request | undefined, repetitions: Repetitions): Promise<number[]> {
  const sides = [ours];
  if (peer !== undefined && request !== undefined) {
    await peer.request(request);
    sides.push(async (count) => (await peer.request<{ seconds: number[] }>({ do: 'time', count })).seconds);
  }
  return interleave(sides, repetitions);
}
