/** Streams of pictures, whatever they come from: bytes in memory, files, an archive, a generator. */
import { checkPixels, joinPixels, type Pixels, slicePixels } from './pixels.js';

/** Batches of images, of any number each: a list, a generator, a reader of this package. */
export type PixelBatches = AsyncIterable<Pixels> | Iterable<Pixels>;

/**
 * The same images in batches of `size`, only the last one and those before a change of size are smaller: a compiled network
 * then sees few shapes.
 */
export async function* rebatch(source: PixelBatches, size: number): AsyncGenerator<Pixels> {
  let waiting: Pixels[] = [];
  let count = 0;
  for await (const batch of source) {
    const { height, width, channels } = checkPixels(batch);
    const first = waiting[0];
    if (first !== undefined && (first.height !== height || first.width !== width || first.channels !== channels)) {
      yield joinPixels(waiting);
      [waiting, count] = [[], 0];
    }
    for (let from = 0; from < batch.count; ) {
      const taken = Math.min(batch.count - from, size - count);
      waiting.push(slicePixels(batch, from, from + taken));
      [from, count] = [from + taken, count + taken];
      if (count < size) continue;
      yield joinPixels(waiting);
      [waiting, count] = [[], 0];
    }
  }
  if (count > 0) yield joinPixels(waiting);
}
