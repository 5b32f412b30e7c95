/** Images as the metrics take them, whatever they come from: bytes in memory, files, an archive, a generator. */
import { ArgumentError } from '@dit-moe/tensor-ops';
import type { Pixels } from './pixels.js';

/** Batches of images, of any number each: a list, a generator, a reader of this package. */
export type PixelBatches = AsyncIterable<Pixels> | Iterable<Pixels>;

/**
 * The batch, if it is one.
 * @throws ArgumentError if the number of bytes does not fit, or there are neither 1 nor 3 channels
 */
export function checkBatch(batch: Pixels): Pixels {
  const { data, count, height, width, channels } = batch;
  if (![count, height, width].every((n) => Number.isSafeInteger(n) && n > 0) || data.length !== count * height * width * channels)
    throw new ArgumentError('pixels', `bytes of [${count}, ${height}, ${width}, ${channels}]`, `${data.length} bytes`);
  if (channels !== 1 && channels !== 3) throw new ArgumentError('pixels: channels', '1 (grey) or 3 (RGB)', channels);
  return batch;
}

/**
 * The same images in batches of `size`, only the last one and those before a change of size are smaller: a compiled network
 * then sees few shapes.
 */
export async function* rebatch(source: PixelBatches, size: number): AsyncGenerator<Pixels> {
  let waiting: Pixels[] = [];
  let count = 0;
  for await (const batch of source) {
    const { height, width, channels } = checkBatch(batch);
    const first = waiting[0];
    if (first !== undefined && (first.height !== height || first.width !== width || first.channels !== channels)) {
      yield join(waiting);
      [waiting, count] = [[], 0];
    }
    for (let from = 0; from < batch.count; ) {
      const taken = Math.min(batch.count - from, size - count);
      waiting.push(slice(batch, from, from + taken));
      [from, count] = [from + taken, count + taken];
      if (count < size) continue;
      yield join(waiting);
      [waiting, count] = [[], 0];
    }
  }
  if (count > 0) yield join(waiting);
}

function slice(batch: Pixels, from: number, to: number): Pixels {
  const size = batch.height * batch.width * batch.channels;
  return { ...batch, count: to - from, data: batch.data.subarray(from * size, to * size) };
}

function join(batches: readonly Pixels[]): Pixels {
  if (batches.length === 1) return batches[0];
  const data = new Uint8Array(batches.reduce((sum, batch) => sum + batch.data.length, 0));
  let at = 0;
  for (const batch of batches) {
    data.set(batch.data, at);
    at += batch.data.length;
  }
  return { ...batches[0], count: batches.reduce((sum, batch) => sum + batch.count, 0), data };
}
