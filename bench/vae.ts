/**
 * The autoencoder of Stable Diffusion against diffusers (random weights, one picture per call), preprocessing against a bare
 * sharp loop, and reads of the latent cache.
 *
 * Lines that end in `bf16` allow bfloat16 on our side (`precision: 'auto'`): it is used where the machine convolves faster in it, which
 * the log says. The peer is its fastest bfloat16 form there, and its fastest form of both types in the lines that end in `best`.
 */
import os from 'node:os';
import type { Precision } from '@dit-moe/tensor-ops';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import { type BenchmarkOptions, type BenchmarkResult, result } from './harness/benchmark.js';
import { interleave, median, type Repetitions, type Timer, timer } from './harness/measure.js';
import { findPython, Peer } from './harness/peer.js';
import { latentReads, preprocessing } from './vae/data.js';
import { type Half, prepareAutoencoder } from './vae/model.js';
import { peakMemory } from './vae/peak-memory.js';

export const name = 'vae';
export const description =
  "Stable Diffusion's autoencoder at 256 and 512 px, memory, preprocessing, latent reads; against PyTorch and sharp";

const PEER_SCRIPT = 'vae.py';
const BATCH = 1;

export async function run({ quick, log }: BenchmarkOptions): Promise<BenchmarkResult[]> {
  const threads = os.availableParallelism();
  const results: BenchmarkResult[] = [];
  const add = (line: BenchmarkResult): void => {
    results.push(line);
    const against = line.peer === null ? '' : `, peer ${line.peer.toFixed(2)}, ratio ${line.ratio!.toFixed(2)}`;
    log(`${line.name}: ${line.value.toFixed(2)} ${line.unit}${against} (load average ${os.loadavg()[0]!.toFixed(2)})`);
  };
  const small: Repetitions = quick ? { warmUp: 1, rounds: 4, perRound: 1 } : { warmUp: 2, rounds: 8, perRound: 2 };
  add(await preprocessing(small));
  add(await latentReads(small));
  const runtime = await useTensorFlow({ threads });
  log(`TensorFlow ${runtime.version}, ${threads} threads`);
  const python = findPython();
  if (python === undefined) log('No PyTorch: python3 cannot import torch, so there is no peer. Set DIT_MOE_PYTHON to a Python that can.');
  const peer = python === undefined ? undefined : Peer.start(python, PEER_SCRIPT, threads);
  try {
    if (peer !== undefined) {
      const hello = await peer.request<{ version: string; diffusers: string }>({ do: 'hello' });
      log(`PyTorch ${hello.version}, diffusers ${hello.diffusers}`);
    }
    for (const size of [256, 512])
      for (const half of ['encode', 'decode'] as const) {
        const fastest = new Map<Precision, Rival>();
        for (const precision of ['f32', 'bf16'] as const) {
          const rival = peer && (await fastestVariant(peer, half, size, precision, quick, log));
          if (rival !== undefined) fastest.set(precision, rival);
          const seconds = await compare(peer, half, size, precision === 'f32' ? 'f32' : 'auto', rival, quick, log);
          add(
            result(
              `${half}-${size}-${precision}`,
              'images/s',
              'more',
              BATCH / seconds[0]!,
              seconds[1] === undefined ? null : BATCH / seconds[1],
            ),
          );
        }
        const [f32, bf16] = [fastest.get('f32'), fastest.get('bf16')];
        const best = f32 === undefined || bf16 === undefined || f32.seconds < bf16.seconds ? f32 : bf16;
        const ours = results.slice(-2).reduce((most, { value }) => Math.max(most, value), 0);
        add(result(`${half}-${size}-best`, 'images/s', 'more', ours, best === undefined ? null : BATCH / best.seconds));
        if (quick && size === 256) continue;
        for (const precision of quick ? (['f32'] as const) : (['f32', 'bf16'] as const)) {
          const mine = await peakMemory(half, size, BATCH, precision === 'f32' ? 'f32' : 'auto', threads, 2);
          const theirs = python === undefined ? null : await peerMemory(python, threads, half, size, fastest.get(precision)!);
          add(result(`memory-${half}-${size}-${precision}`, 'MiB', 'less', mine, theirs));
        }
      }
  } finally {
    peer?.stop();
  }
  return results;
}

/** A form of the peer and how long it takes. */
interface Rival {
  precision: Precision;
  variant: string;
  seconds: number;
}

/** Times each variant of the peer alone. */
async function fastestVariant(
  peer: Peer,
  half: Half,
  size: number,
  precision: Precision,
  quick: boolean,
  log: (line: string) => void,
): Promise<Rival> {
  const variants = quick ? ['eager/nchw', 'eager/nhwc'] : ['eager/nchw', 'eager/nhwc', 'compile/nchw', 'compile/nhwc'];
  let best: Rival | undefined;
  for (const variant of variants) {
    try {
      await peer.request({ do: 'prepare', part: half, size, batch: BATCH, precision, variant });
      const { seconds } = await peer.request<{ seconds: number[] }>({ do: 'time', count: quick ? 1 : 3 });
      const middle = median(seconds);
      log(`  peer ${half} ${size} ${precision} ${variant}: ${(BATCH / middle).toFixed(3)} images/s`);
      if (best === undefined || middle < best.seconds) best = { precision, variant, seconds: middle };
    } catch (error) {
      log(`  peer ${variant} failed: ${(error as Error).message.split('\n')[0]}`);
    }
  }
  if (best === undefined) throw new Error(`No variant of the peer ran for ${half} at ${size} px.`);
  return best;
}

/** Seconds per pass of our side and, if there is one, of the peer, in turns. */
async function compare(
  peer: Peer | undefined,
  half: Half,
  size: number,
  precision: Precision | 'auto',
  rival: Rival | undefined,
  quick: boolean,
  log: (line: string) => void,
): Promise<number[]> {
  const model = prepareAutoencoder(half, size, BATCH, precision);
  if (precision === 'auto') log(`  ours with bf16 allowed: computes in ${model.precision}`);
  const sides: Timer[] = [timer(() => model.step())];
  if (peer !== undefined && rival !== undefined) {
    await peer.request({ do: 'prepare', part: half, size, batch: BATCH, precision: rival.precision, variant: rival.variant });
    sides.push(async (count) => (await peer.request<{ seconds: number[] }>({ do: 'time', count })).seconds);
  }
  const seconds = await interleave(sides, quick ? { warmUp: 1, rounds: 2, perRound: 1 } : { warmUp: 1, rounds: 4, perRound: 1 });
  model.dispose();
  return seconds;
}

async function peerMemory(python: string, threads: number, half: Half, size: number, { precision, variant }: Rival): Promise<number> {
  const fresh = Peer.start(python, PEER_SCRIPT, threads);
  try {
    await fresh.request({ do: 'prepare', part: half, size, batch: BATCH, precision, variant });
    await fresh.request({ do: 'time', count: 1 });
    return (await fresh.request<{ mebibytes: number }>({ do: 'memory' })).mebibytes;
  } finally {
    fresh.stop();
  }
}
