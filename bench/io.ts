/**
 * Loading a safetensors file of 4 GiB (`--quick`: 1 GiB) from the system's cache, against the system's own reads of the same bytes,
 * in turns. Memory is what reading adds to the process at its peak; its peer is the file's size plus one tensor.
 */
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { writeSafetensors } from '@dit-moe/tensor-ops/io/node';
import { type BenchmarkOptions, type BenchmarkResult, result } from './harness/benchmark.js';
import { median } from './harness/measure.js';
import { type Reading, readOnce, type Way } from './io/reader.js';

export const description = 'loading a safetensors file of 4 GiB: speed against raw reads, and peak memory';

const TENSOR_BYTES = 2 ** 26;
const ROUNDS = 3;
const MEBIBYTE = 2 ** 20;

export async function run({ quick, log }: BenchmarkOptions): Promise<BenchmarkResult[]> {
  const count = (quick ? 2 ** 30 : 2 ** 32) / TENSOR_BYTES;
  const folder = await fs.mkdtemp(path.join(os.tmpdir(), 'bench-io-'));
  const file = path.join(folder, 'weights.safetensors');
  try {
    const bytes = new Uint8Array(TENSOR_BYTES).map((_, i) => (i * 31) & 0xff);
    const tensors = Array.from({ length: count }, (_, i) => ({
      name: `w${i}`,
      dtype: 'F32' as const,
      shape: [TENSOR_BYTES / 4],
      bytes: () => bytes,
    }));
    const began = performance.now();
    await writeSafetensors(file, tensors);
    const size = count * TENSOR_BYTES;
    log(`wrote ${(size / 2 ** 30).toFixed(0)} GiB with sha256 in ${((performance.now() - began) / 1000).toFixed(1)} s`);
    const ways: Way[] = ['load', 'raw-kept', 'stream', 'raw-reused'];
    const readings = Object.fromEntries(ways.map((way) => [way, [] as Reading[]])) as Record<Way, Reading[]>;
    await readOnce({ file, way: 'raw-reused' }); // Into the system's cache.
    for (let round = 0; round < ROUNDS; round++)
      for (const way of round % 2 === 0 ? ways : ways.toReversed()) {
        const reading = await readOnce({ file, way });
        readings[way].push(reading);
        log(`  ${way}: ${(size / 2 ** 30 / reading.seconds).toFixed(2)} GiB/s, ${reading.mebibytes.toFixed(0)} MiB more memory`);
      }
    const speed = (way: Way) => size / 2 ** 30 / median(readings[way].map(({ seconds }) => seconds));
    const memory = (way: Way) => median(readings[way].map(({ mebibytes }) => mebibytes));
    return [
      result('load-all-kept', 'GiB/s', 'more', speed('load'), speed('raw-kept')),
      result('load-one-at-a-time', 'GiB/s', 'more', speed('stream'), speed('raw-reused')),
      result('memory-all-kept', 'MiB', 'less', memory('load'), (size + TENSOR_BYTES) / MEBIBYTE),
      result('memory-one-at-a-time', 'MiB', 'less', memory('stream'), (2 * TENSOR_BYTES) / MEBIBYTE),
    ];
  } finally {
    await fs.rm(folder, { recursive: true });
  }
}
