/** Sets are decoded as training and Pillow decode them: colours depend on the numbers in a file, not on its profile or its format. */
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { noise } from '../../../data/src/testing/make-files.js';
import { openImageSet } from './image-set.js';

let root: string;
beforeAll(async () => {
  root = await fs.mkdtemp(path.join(os.tmpdir(), 'image-set-'));
});
afterAll(() => fs.rm(root, { recursive: true }));

const raw = (data: Uint8Array, channels: 3 | 4) => sharp(data, { raw: { width: 16, height: 16, channels } });
/** Pixels of the images that `file` makes of two pictures. */
async function pixelsOf(name: string, file: (i: number) => Promise<Uint8Array>): Promise<number[]> {
  const folder = path.join(root, name);
  await fs.mkdir(folder, { recursive: true });
  for (const i of [0, 1]) await fs.writeFile(path.join(folder, `${i}${path.extname(name)}`), await file(i));
  const set = await openImageSet(folder);
  const pixels: number[] = [];
  for await (const batch of set.images()) pixels.push(...batch.data);
  await set.close();
  return pixels;
}

test('a colour profile changes nothing', async () => {
  const plain = await pixelsOf('plain.png', (i) => raw(noise(i).data, 3).png().toBuffer());
  expect(plain).toEqual([...noise(0).data, ...noise(1).data]);
  const profile = (i: number) => raw(noise(i).data, 3).withIccProfile('p3', { attach: true }).png().toBuffer();
  // The profile is there, and the file's own numbers are other ones: those are what counts.
  const stored = await Promise.all(
    [0, 1].map(async (i) =>
      sharp(await profile(i), { ignoreIcc: true })
        .raw()
        .toBuffer(),
    ),
  );
  expect((await sharp(await profile(0)).metadata()).icc).toBeDefined();
  expect(await pixelsOf('profile.png', profile)).toEqual(stored.flatMap((data) => [...data]));
});

test('CMYK becomes RGB as Pillow converts it, without a profile', async () => {
  const cmyk = (i: number) => Uint8Array.from({ length: 4 * 256 }, (_, k) => noise(i).data[k % 768]);
  const file = async (i: number) => {
    const tiff = await raw(cmyk(i), 4).toColourspace('cmyk').tiff().toBuffer();
    return sharp(tiff).pipelineColourspace('cmyk').toColourspace('cmyk').tiff({ compression: 'lzw' }).toBuffer();
  };
  const stored = await Promise.all(
    [0, 1].map(async (i) =>
      sharp(await file(i))
        .pipelineColourspace('cmyk')
        .toColourspace('cmyk')
        .raw()
        .toBuffer(),
    ),
  );
  // Pillow: R = n - C n / 255 with n = 255 - K.
  const expected = stored.flatMap((data) =>
    Array.from({ length: 256 }, (_, p) => {
      const n = 255 - data[4 * p + 3];
      return [0, 1, 2].map((c) => n - (data[4 * p + c] * n) / 255);
    }).flat(),
  );
  const found = await pixelsOf('cmyk.tif', file);
  expect(found).toHaveLength(expected.length);
  for (const [k, value] of found.entries()) expect(Math.abs(value - expected[k])).toBeLessThanOrEqual(0.51);
});
