import { type Pixels, pictureAt } from '@dit-moe/data';
import type { SampleProgress } from '@dit-moe/pipeline';
import sharp from 'sharp';
import { expect, test } from 'vitest';
import { encodeFilm, encodePicture } from './encode-picture.js';
import { DenoisingFilm, interpolationFrames, spread, strip } from './film.js';

/** Pictures of one value each. */
const flat = (...values: number[]): Pixels => ({
  ...{ count: values.length, height: 2, width: 3, channels: 3 },
  data: Uint8Array.from(values.flatMap((v) => Array<number>(18).fill(v))),
});
const valuesOf = (pixels: Pixels): number[] => Array.from({ length: pixels.count }, (_, i) => pictureAt(pixels, i).data[0]);
const notes = { Software: 'tester', Comment: '{"model":"雪"}' };

test('some of the items, the last always', () => {
  expect(spread([1, 2, 3], 5)).toEqual([1, 2, 3]);
  expect(spread([1, 2, 3, 4, 5, 6], 3)).toEqual([2, 4, 6]);
  expect(spread([1, 2, 3, 4, 5], 2)).toEqual([3, 5]);
  expect(spread([1, 2, 3], 1)).toEqual([3]);
});

test('frames of batches of which one took more steps, and a strip of them', async () => {
  const film = new DenoisingFilm();
  const step = (from: number, ...values: number[]) => film.add({ from, preview: async () => flat(...values) } as SampleProgress);
  for (const n of [1, 2, 3]) await step(0, n, 10 + n);
  for (const n of [1, 2, 3, 4, 5, 6]) await step(2, 20 + n);
  const frames = film.frames();
  expect(frames.map(valuesOf)).toEqual([
    [1, 11, 22],
    [2, 12, 24],
    [3, 13, 26],
  ]);
  expect(valuesOf(strip(frames))).toEqual([1, 2, 3, 11, 12, 13, 22, 24, 26]);
});

test('an interpolation runs through its columns', () => {
  expect(interpolationFrames(flat(1, 2, 3, 4, 5, 6), 3).map(valuesOf)).toEqual([
    [1, 4],
    [2, 5],
    [3, 6],
  ]);
});

test.each(['gif', 'webp'] as const)('a film as %s has its frames, repeats, and stays at the end', async (format) => {
  const { data, pages, loop, delay } = await sharp(await encodeFilm(flat(0, 100, 200), format, notes, 80), { animated: true })
    .metadata()
    .then(async (metadata) => ({ ...metadata, data: undefined }));
  expect({ data, pages, loop, delay }).toMatchObject({ pages: 3, loop: 0, delay: [80, 80, 1500] });
});

test.each([
  ['png', 0],
  ['webp', 0],
  ['gif', 1],
  ['jpeg', 3],
] as const)('a picture as %s', async (format, tolerance) => {
  const bytes = await encodePicture(flat(137), format, notes);
  const { data, info } = await sharp(bytes).removeAlpha().raw().toBuffer({ resolveWithObject: true });
  expect(info).toMatchObject({ width: 3, height: 2, channels: 3 });
  for (const value of data) expect(Math.abs(value - 137)).toBeLessThanOrEqual(tolerance);
  if (format !== 'jpeg' && format !== 'webp') return;
  const text = /\{.*\}/.exec((await sharp(bytes).metadata()).exif!.toString('latin1'))![0];
  expect(JSON.parse(text)).toEqual(JSON.parse(notes.Comment));
});
