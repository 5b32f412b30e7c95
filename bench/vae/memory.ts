/** Peak resident memory of whole processes that run one pass: ours and PyTorch's. */
import os from 'node:os';
import { type BenchmarkOptions, type BenchmarkResult, result } from '../harness/benchmark.js';
import { findPython, Peer } from '../harness/peer.js';
import type { Half } from './model.js';
import { BATCH, PEER_SCRIPT } from './passes.js';
import { peakMemory } from './peak-memory.js';

/** Lines `memory-<half>-<size>` in float32; the peer as it is by default (eager, channels first). */
export async function memory({ log }: BenchmarkOptions): Promise<BenchmarkResult[]> {
  const threads = os.availableParallelism();
  const python = findPython();
  const results: BenchmarkResult[] = [];
  for (const size of [256, 512])
    for (const half of ['encode', 'decode'] as const) {
      const mine = await peakMemory({ half, size, batch: BATCH, precision: 'f32', threads, passes: 1 });
      const theirs = python === undefined ? null : await peerMemory(python, threads, half, size);
      const line = result(`memory-${half}-${size}`, 'MiB', 'less', mine, theirs);
      log(`${line.name}: ${mine.toFixed(0)} MiB${theirs === null ? '' : `, peer ${theirs.toFixed(0)}, ratio ${line.ratio!.toFixed(2)}`}`);
      results.push(line);
    }
  return results;
}

async function peerMemory(python: string, threads: number, half: Half, size: number): Promise<number> {
  const peer = Peer.start(python, PEER_SCRIPT, threads);
  try {
    await peer.request({ do: 'prepare', name: 'memory', part: half, size, batch: BATCH, precision: 'f32', variant: 'eager/nchw' });
    return (await peer.request<{ mebibytes: number }>({ do: 'memory' })).mebibytes;
  } finally {
    peer.stop();
  }
}
