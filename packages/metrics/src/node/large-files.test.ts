import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { encodeNpz, FormatError, TorchTensorSource, torchChunks } from '@dit-moe/tensor-ops/io';
import * as tf from '@tensorflow/tfjs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { collectFeatures, MetricError } from '../index.js';
import { openImageSet, openNetwork } from './index.js';

let folder: string;
const at = (name: string): string => path.join(folder, name);
beforeAll(async () => {
  await tf.setBackend('cpu');
  folder = await fs.mkdtemp(path.join(os.tmpdir(), 'metrics-files-'));
});
afterAll(async () => fs.rm(folder, { recursive: true, force: true }));

const isKnown = existsSync('/proc/self/clear_refs');
/** MiB of this process. */
const status = (name: 'VmHWM' | 'VmRSS'): number =>
  Number(new RegExp(`${name}:\\s+(\\d+)`).exec(readFileSync('/proc/self/status', 'utf8'))![1]) / 1024;

/** `work` takes at most so many MiB beside what there was before, on Linux: elsewhere nothing tells, since a peak of before cannot be forgotten. */
async function within(most: number, work: () => Promise<void>): Promise<void> {
  if (!isKnown) return work();
  writeFileSync('/proc/self/clear_refs', '5'); // The peak begins anew.
  const before = status('VmRSS');
  await work();
  expect(status('VmHWM') - before).toBeLessThan(most);
}

/** A zip64 archive with one stored member, whose bytes after `start` are a hole in the file. */
async function sparseNpz(file: string, shape: readonly number[]): Promise<number> {
  const text = `{'descr': '|u1', 'fortran_order': False, 'shape': (${shape.join(', ')}), }`;
  const header = Buffer.from(`\x93NUMPY\x01\x00\x76\x00${text.padEnd(117)}\n`, 'latin1');
  const size = BigInt(header.length) + shape.reduce((product, n) => product * BigInt(n), 1n);
  const name = Buffer.from('arr_0.npy');
  const fields = (...values: [bytes: 2 | 4 | 8, value: number | bigint][]): Buffer =>
    Buffer.concat(
      values.map(([bytes, value]) => {
        const part = Buffer.alloc(8);
        part.writeBigUInt64LE(BigInt(value));
        return part.subarray(0, bytes);
      }),
    );
  const [unknown, version] = [0xffffffff, 45];
  const common = fields([2, version], [2, 0], [2, 0], [4, 0], [4, 0], [4, unknown], [4, unknown], [2, name.length], [2, 20]);
  const extra = fields([2, 1], [2, 16], [8, size], [8, size]);
  const local = Buffer.concat([fields([4, 0x04034b50]), common, name, extra]);
  const directory = Buffer.concat([
    fields([4, 0x02014b50], [2, version]),
    common,
    fields([2, 0], [2, 0], [2, 0], [4, 0], [4, 0]),
    name,
    extra,
  ]);
  const directoryAt = BigInt(local.length) + size;
  const end = Buffer.concat([
    fields([4, 0x06064b50], [8, 44], [2, version], [2, version], [4, 0], [4, 0], [8, 1], [8, 1], [8, directory.length], [8, directoryAt]),
    fields([4, 0x07064b50], [4, 0], [8, directoryAt + BigInt(directory.length)], [4, 1]),
    fields([4, 0x06054b50], [2, 0], [2, 0], [2, 0xffff], [2, 0xffff], [4, unknown], [4, unknown], [2, 0]),
  ]);
  const handle = await fs.open(file, 'w');
  await handle.write(Buffer.concat([local, header]), 0, undefined, 0);
  await handle.write(Buffer.concat([directory, end]), 0, undefined, Number(directoryAt));
  await handle.close();
  return Number(directoryAt);
}

describe('50,000 images of 512 x 512 in an .npz file of 39 GB', () => {
  test('are opened and read in order in the memory of a few batches', async () => {
    const bytes = await sparseNpz(at('large.npz'), [50_000, 512, 512, 3]);
    expect(bytes).toBeGreaterThan(39e9);
    await within(300, async () => {
      const set = await openImageSet(at('large.npz'));
      expect(set).toMatchObject({ count: 50_000, size: [512, 512], kind: 'npz' });
      let [images, largest] = [0, 0];
      for await (const batch of set.images()) {
        images += batch.count;
        largest = Math.max(largest, batch.data.length);
        // These are 600 MiB.
        if (images > 800) break;
      }
      expect(largest).toBeLessThanOrEqual(16 * 2 ** 20);
      const corner = (images: tf.Tensor4D) => ({ corner: tf.reshape(tf.slice(images, 0, [-1, 1, 1, 3]), [-1, 3]) as tf.Tensor2D });
      const { count } = await collectFeatures(set.images(), corner, { batch: 4, limit: 8 });
      await set.close();
      expect(count).toBe(8);
    });
  });
});

describe('malformed files end in a typed error, without memory for what they claim', () => {
  const failure = (work: Promise<unknown>): Promise<unknown> =>
    work.then(
      () => undefined,
      (error) => error,
    );
  async function bytesOf(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
    const parts: Uint8Array[] = [];
    for await (const chunk of chunks) parts.push(chunk);
    return Buffer.concat(parts);
  }
  const state = () => torchChunks({ 'fc.bias': new TorchTensorSource('F32', [1008], () => new Uint8Array(4 * 1008)) });

  test.each([
    ['an empty .pth', 'a.pth', async () => Buffer.alloc(0)],
    ['a .pth of noise', 'b.pth', async () => Buffer.from(Array.from({ length: 5000 }, (_, i) => (i * i * 31) & 255))],
    ['a truncated .pth', 'c.pth', async () => (await bytesOf(state())).subarray(0, 3000)],
    ['a .pth of another network', 'd.pth', async () => bytesOf(state())],
    ['a legacy .pth whose pickle claims a string of 2 GB', 'e.pth', async () => Buffer.from('800258ffffff7f', 'hex')],
    ['a .pb whose node claims 2^40 bytes', 'f.pb', async () => Buffer.from([0x0a, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20, 1, 2])],
  ])('%s', async (_, name, make) => {
    await fs.writeFile(at(name), await make());
    await within(100, async () => {
      const error = await failure(openNetwork('inception', { weights: at(name) }));
      expect(error instanceof FormatError || error instanceof MetricError, String(error)).toBe(true);
    });
  });

  test('every image archive whose header was damaged', async () => {
    const good = await encodeNpz(new Map([['arr_0', { dtype: 'U8' as const, shape: [1, 9, 9, 3], data: new Uint8Array(243) }]]));
    const text = Buffer.from(good).toString('latin1');
    await within(100, async () => {
      for (const [name, from, to] of [
        ['more images than bytes', '(1, 9, 9, 3), }       ', '(99999999999, 9, 9, 3)'],
        ['a shape beyond all numbers', '(1, 9, 9, 3), }       ', '(9999999999999999999,)'],
        ['no header', 'NUMPY', 'NUMPI'],
        ['another type', '|u1', '<f4'],
        ['objects', '|u1', '|O8'],
        ['no directory', 'PK\x05\x06', 'PK\x05\x07'],
      ]) {
        expect(text).toContain(from);
        const file = at(`${name}.npz`);
        await fs.writeFile(file, Buffer.from(text.replace(from, to), 'latin1'));
        const error = await failure(
          openImageSet(file).then(async (set) => {
            for await (const _ of set.images());
          }),
        );
        expect(error instanceof FormatError || error instanceof MetricError, `${name}: ${error}`).toBe(true);
      }
      // Claims a terabyte, has a kilobyte.
      await sparseNpz(at('claims.npz'), [4_000_000, 512, 512, 1]);
      await fs.truncate(at('claims.npz'), 1000);
      expect(await failure(openImageSet(at('claims.npz')))).toBeInstanceOf(FormatError);
    });
  });
});
