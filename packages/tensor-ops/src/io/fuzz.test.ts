/**
 * Damaged files end in typed errors and take no memory to speak of.
 *
 * `DIT_MOE_FUZZ=100000 npx vitest run packages/tensor-ops/src/io/fuzz.test.ts` makes that many mutations instead of a few
 * thousand; `DIT_MOE_FUZZ_SEED` chooses others.
 */
import fs from 'node:fs';
import { expect, test } from 'vitest';
import { DitMoeError } from '../errors.js';
import { concatenate, memorySource } from './byte-source.js';
import { encodeNpz, Npz } from './npz.js';
import { decodeSafetensors, encodeSafetensors, encodeTensor } from './safetensors.js';
import { TorchFile } from './torch-reader.js';
import { TorchTensor } from './torch-tensor.js';
import { TorchTensorSource, torchChunks } from './torch-writer.js';

const MUTATIONS = Number(process.env['DIT_MOE_FUZZ'] ?? 4000);
const SEED = Number(process.env['DIT_MOE_FUZZ_SEED'] ?? 1);
/** Growth of the process that a few kilobytes of hostile bytes may cause, garbage not yet collected included. */
const MAX_GROWTH_BYTES = 512 * 2 ** 20;

const fixture = (name: string) => new Uint8Array(fs.readFileSync(new URL(`../../test/fixtures/${name}`, import.meta.url)));
const numbers = Float32Array.from({ length: 12 }, (_, i) => i / 4);
const bytes = encodeTensor(numbers, 'F32');
const tensors = ['a', 'blocks.0.weight', 'é'].map((name) => ({ name, dtype: 'F32' as const, shape: [3, 4], bytes }));

async function readTorch(file: Uint8Array): Promise<void> {
  const opened = await TorchFile.open(memorySource(file));
  const seen = new Set<unknown>();
  for (const waiting = [opened.value]; waiting.length > 0; ) {
    const value = waiting.pop();
    if (value instanceof TorchTensor) await opened.read(value);
    else if ((value instanceof Map || Array.isArray(value)) && !seen.has(value)) {
      seen.add(value);
      waiting.push(...value.values());
    }
  }
}
async function readNpz(file: Uint8Array): Promise<void> {
  const npz = await Npz.open(memorySource(file));
  for (const name of npz.names) await npz.read(name);
}

const model = Object.fromEntries(tensors.map(({ name, dtype, shape }) => [name, new TorchTensorSource(dtype, shape, () => bytes)]));
const arrays = new Map([['arr_0', { dtype: 'F32' as const, shape: [3, 4], data: numbers }]]);
const originals: [string, Uint8Array, (file: Uint8Array) => unknown][] = [
  ['safetensors', encodeSafetensors(tensors, { objective: 'flow' }), (file) => decodeSafetensors(file)],
  ['.pt written here', await concatenate(torchChunks({ model, epoch: 3, list: [1, 2.5, 'x'] })), readTorch],
  ['.pt of PyTorch', fixture('torch-zip.pt'), readTorch],
  ['.pt of old PyTorch', fixture('torch-legacy.pt'), readTorch],
  ['.npz', await encodeNpz(arrays), readNpz],
  ['.npz, deflated', await encodeNpz(arrays, { compress: true }), readNpz],
];

/** Numbers in [0, 1) from a seed (mulberry32). */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const BOUNDARY_BYTES = [0, 1, 0x7f, 0x80, 0xfe, 0xff];
const BOUNDARY_SIZES = [0n, 1n, 2n ** 16n - 1n, 2n ** 31n - 1n, 2n ** 32n - 1n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n];

/** The file with one to four changes. */
function mutate(original: Uint8Array, next: () => number): Uint8Array<ArrayBuffer> {
  let file = new Uint8Array(original);
  const below = (n: number) => Math.floor(next() * n);
  for (let changes = 1 + below(4); changes > 0; changes--) {
    const at = below(file.length);
    const length = 1 + below(Math.min(64, file.length));
    const data = new DataView(file.buffer);
    switch (below(8)) {
      case 0:
        file[at] ^= 1 << below(8);
        break;
      case 1:
        file[at] = BOUNDARY_BYTES[below(BOUNDARY_BYTES.length)];
        break;
      case 2:
        file[at] = below(256);
        break;
      case 3:
        if (at + 8 <= file.length) data.setBigUint64(at, BOUNDARY_SIZES[below(BOUNDARY_SIZES.length)], true);
        break;
      case 4:
        if (at + 4 <= file.length) data.setUint32(at, Number(BOUNDARY_SIZES[below(5)]), true);
        break;
      case 5:
        file = Uint8Array.from([...file.subarray(0, at), ...file.subarray(at + length)]);
        break;
      case 6:
        file = Uint8Array.from([...file.subarray(0, at), ...file.subarray(below(at + 1), at), ...file.subarray(at)]);
        break;
      default:
        if (below(4) === 0) file = file.slice(0, at);
        else file.copyWithin(at, below(file.length), below(file.length));
    }
    if (file.length === 0) break;
  }
  return file;
}

test(`${MUTATIONS} mutated files end in typed errors or are read, with bounded memory`, {
  timeout: Math.max(300_000, 20 * MUTATIONS),
}, async () => {
  const before = process.memoryUsage().rss;
  let growth = 0;
  const outcomes = { read: 0, refused: 0 };
  for (let i = 0; i < MUTATIONS; i++) {
    const [name, original, read] = originals[i % originals.length];
    const file = mutate(original, random(SEED * 1_000_003 + i));
    try {
      await read(file);
      outcomes.read++;
    } catch (error) {
      if (!DitMoeError.isInstance(error)) throw new Error(`mutation ${i} (seed ${SEED}) of ${name} ended in ${(error as Error).stack}`);
      outcomes.refused++;
    }
    if (i % 64 === 0) growth = Math.max(growth, process.memoryUsage().rss - before);
  }
  expect(growth).toBeLessThan(MAX_GROWTH_BYTES);
  // Both happen, or the mutations test nothing.
  expect(outcomes.read).toBeGreaterThan(MUTATIONS / 100);
  expect(outcomes.refused).toBeGreaterThan(MUTATIONS / 4);
  for (const [, original, read] of originals) await read(original);
});
