import { encodeNpz, memorySource, Npz, npzChunks } from '@dit-moe/tensor-ops/io';
import * as tf from '@tensorflow/tfjs';
import { describe, expect, test } from 'vitest';
import { type ImageBatch, MetricError, npzImages, npzLabels, rebatch, resample } from '../index.js';

/** Images whose pixels count up. */
const images = (count: number, height: number, width: number, channels = 3, from = 0): ImageBatch => ({
  data: Uint8Array.from({ length: count * height * width * channels }, (_, i) => from + i),
  count,
  height,
  width,
  channels,
});
async function all(source: AsyncIterable<ImageBatch>): Promise<ImageBatch[]> {
  const batches: ImageBatch[] = [];
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
    [{ ...images(2, 2, 2), count: 3 }, /bytes are not \[3, 2, 2, 3\]/],
    [images(1, 2, 2, 4), /found 4 channels/],
    [{ ...images(1, 2, 2), height: 0 }, MetricError],
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

describe('resample', () => {
  test('keeps constants and, at the same size, everything', async () => {
    const flat = tf.fill([1, 5, 7, 3], 77) as tf.Tensor4D;
    for (const kernel of ['box', 'bicubic'] as const) {
      const values = await resample(flat, [3, 16], kernel).data();
      for (const value of values) expect(value).toBeCloseTo(77, 4);
    }
    const x = tf.tensor4d(
      Float32Array.from({ length: 48 }, (_, i) => i),
      [1, 4, 4, 3],
    );
    expect(await resample(x, [4, 4], 'bicubic').data()).toEqual(await x.data());
  });
  test('a box to half the size is the mean of four pixels, also of parts of pixels', async () => {
    const x = tf.tensor4d([0, 2, 4, 6, 8, 10, 12, 14, 16], [1, 3, 3, 1]);
    expect(Array.from(await resample(tf.slice(x, [0, 0, 0, 0], [1, 2, 2, 1]), [1, 1], 'box').data())).toEqual([4]);
    expect((await resample(x, [1, 2], 'box').data())[0]).toBeCloseTo(((0 + 6 + 12) * 1 + (2 + 8 + 14) * 0.5) / 3 / 1.5, 5);
  });
  test("Pillow's bicubic, to the pixel", async () => {
    // PIL.Image.fromarray(numpy.arange(64, dtype=uint8).reshape(8, 8) * 4 % 251).resize((5, 3), BICUBIC)
    const x = tf.tensor4d(
      Float32Array.from({ length: 64 }, (_, i) => (i * 4) % 251),
      [1, 8, 8, 1],
    );
    expect(Array.from(await resample(x, [3, 5], 'bicubic', { rounded: true }).data())).toEqual([
      30, 37, 43, 49, 56, 113, 120, 126, 132, 143, 196, 203, 209, 219, 172,
    ]);
  });
});
