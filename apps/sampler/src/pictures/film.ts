/** What is kept while images are made, to be shown as a film. */
import { joinPixels, type Pixels, pictureAt } from '@dit-moe/data';
import type { SampleProgress } from '@dit-moe/pipeline';

/** Frames of a film, and columns of a strip, at most. */
const MOST_FRAMES = 48;

/** Some of the items in their order: at most `most`, evenly spread, the last one always. */
export function spread<T>(items: readonly T[], most: number): T[] {
  if (items.length <= most) return [...items];
  return Array.from({ length: most }, (_, i) => items[Math.ceil(((i + 1) * items.length) / most) - 1]);
}

/** Collects how the images looked after each step, as far as was predicted then. */
export class DenoisingFilm {
  private readonly batches: Pixels[][] = [];
  private from = -1;

  async add({ from, preview }: SampleProgress): Promise<void> {
    if (from !== this.from) this.batches.push([]);
    this.from = from;
    this.batches.at(-1)!.push(await preview());
  }

  /** All images at each of some moments, the last one always. A solver that chooses its steps may have taken more in one batch than in another. */
  frames(): Pixels[] {
    const count = Math.min(MOST_FRAMES, ...this.batches.map(({ length }) => length));
    const kept = this.batches.map((batch) => spread(batch, count));
    return Array.from({ length: count }, (_, frame) => joinPixels(kept.map((batch) => batch[frame])));
  }
}

/** An interpolation as frames: the first pictures of all ways, the second ones, ... */
export const interpolationFrames = (pixels: Pixels, columns: number): Pixels[] =>
  Array.from({ length: columns }, (_, column) =>
    joinPixels(Array.from({ length: pixels.count / columns }, (_, row) => pictureAt(pixels, row * columns + column))),
  );

/** A row of pictures over time for each image. */
export const strip = (frames: readonly Pixels[]): Pixels =>
  joinPixels(Array.from({ length: frames[0].count }, (_, i) => frames.map((frame) => pictureAt(frame, i))).flat());
