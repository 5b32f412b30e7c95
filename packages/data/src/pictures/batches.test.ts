import { encodeNpz, memorySource, Npz, npzChunks } from '@dit-moe/tensor-ops/io';
import { describe, expect, test } from 'vitest';
import { npzImages, npzLabels, type Pixels, rebatch } from '../index.js';

/** Images whose pixels count up. */
const images = (count: number, height: number, width: number, channels = 3, from = 0): Pixels => ({
  data: Uint8Array.from({ length: count * height * width * channels }, (_, i) => from + i),
  count,
  height,
  width,
  channels,
});
async function all(source: AsyncIterable<Pixels>): Promise<Pixels[]> {
  const batches: Pixels[] = [];
  for await (const batch of source) batches.push(batch);
  return batches;
}

describe('batches', () => {
  test('are cut and joined to one size, in order; a change of size ends one', async () => {
    const source = [images(5, 2, 2), images(1, 2, 2, 3, 60), images(3, 2, 4)];
    const batches = await all(rebatch(source, 4));
    expect(batches.map(({ count, width }) => [count, width])).toEqual([
      [4, 2],
      [2, 2],
      [3, 4],
    ]);
    expect([...batches[0].data, ...batches[1].data]).toEqual([...source[0].data, ...source[1].data]);
  });

  test.each([
    [{ ...images(2, 2, 2), count: 3 }, /bytes of \[3, 2, 2, 3\]/],
    [images(1, 2, 2, 4), /channels: expected .* found 4/],
    [{ ...images(1, 2, 2), height: 0 }, /bytes of/],
  ])('bad batch %# is refused', async (batch, message) => {
    await expect(all(rebatch([batch], 4))).rejects.toThrow(message);
  });
});

describe('npz images', () => {
  test('come in order with their labels; two reads give the same', async () => {
    const { data } = images(9, 4, 4);
    const labels = BigInt64Array.from({ length: 9 }, (_, i) => BigInt(i % 3));
    const file = await encodeNpz(
      new Map([
        ['arr_0', { dtype: 'U8' as const, shape: [9, 4, 4, 3], data }],
        ['arr_1', { dtype: 'I64' as const, shape: [9], data: labels }],
      ]),
    );
    const npz = await Npz.open(memorySource(file));
    for (let run = 0; run < 2; run++) {
      const batches = await all(npzImages(npz));
      expect(batches.flatMap((batch) => [...batch.data])).toEqual([...data]);
    }
    expect(await npzLabels(npz, 9)).toEqual([0, 1, 2, 0, 1, 2, 0, 1, 2]);
    expect(await npzLabels(npz, 8)).toBeUndefined();
  });

  test('a set far larger than a batch is read in parts of at most 16 MiB', async () => {
    const [count, side] = [60, 512];
    const row = new Uint8Array(side * side * 3);
    const chunks = npzChunks([{ name: 'arr_0', dtype: 'U8', shape: [count, side, side, 3], chunks: () => Array(count).fill(row) }]);
    const parts: Uint8Array[] = [];
    for await (const chunk of chunks) parts.push(chunk);
    const npz = await Npz.open(memorySource(Buffer.concat(parts)));
    let [seen, largest] = [0, 0];
    for await (const batch of npzImages(npz)) {
      seen += batch.count;
      largest = Math.max(largest, batch.data.buffer.byteLength);
    }
    expect(seen).toBe(count);
    expect(largest).toBeLessThanOrEqual(16 * 2 ** 20);
  });

  test.each([
    ['arr_1', { dtype: 'U8' as const, shape: [1, 2, 2, 3], data: new Uint8Array(12) }, /has no array "arr_0"; it has arr_1/],
    ['arr_0', { dtype: 'F32' as const, shape: [1, 2, 2, 3], data: new Float32Array(12) }, /is F32 \[1,2,2,3\], expected U8/],
    ['arr_0', { dtype: 'U8' as const, shape: [1, 3, 2, 2], data: new Uint8Array(12) }, /NHWC/],
  ])('an archive with %s is refused: %#', async (name, tensor, message) => {
    const npz = await Npz.open(memorySource(await encodeNpz(new Map([[name, tensor]]))));
    await expect(all(npzImages(npz))).rejects.toThrow(message);
  });
});
