import fs from 'node:fs';
import path from 'node:path';
import { encode } from 'fast-png';
import { afterAll, describe, expect, test } from 'vitest';
import { nearestLabel, recognisedShare } from '../demo/recognise.js';
import { makeRoot, writeImages } from '../testing/tiny-run.js';
import { loadImageFolder, openImageData } from './images.js';

const { root, images } = makeRoot();
afterAll(() => fs.rmSync(root, { recursive: true }));
const options = { channels: 1, memory: 100, maxUnreadable: 0.01 } as const;

test('one that cannot be read is skipped, counted and named; too many are refused', async () => {
  const folder = path.join(root, 'one-bad');
  writeImages(folder);
  fs.writeFileSync(path.join(folder, 'dark', '1.png'), 'not a picture');
  const { skipped } = await openImageData(folder, options);
  expect(skipped.map(({ file }) => path.basename(file))).toEqual(['1.png']);
  fs.writeFileSync(path.join(folder, 'light', '0.png'), fs.readFileSync(path.join(folder, 'light', '1.png')).subarray(0, 40));
  await expect(openImageData(folder, options)).rejects.toMatchObject({
    code: 'E_DATA',
    message: expect.stringMatching(/2 images of 6 .* cannot be read/),
  });
  expect((await openImageData(folder, { ...options, maxUnreadable: 0.5 })).skipped).toHaveLength(2);
});

test('decoded on demand they are the same as in memory, and a bad one is replaced by the next', async () => {
  const folder = path.join(root, 'streamed');
  writeImages(folder);
  const [memory, streamed] = [await openImageData(folder, options), await openImageData(folder, { ...options, memory: 0 })];
  const requests = [4, 0, 5].map((record, index) => ({ record, index, flip: index === 1 }));
  const [a, b] = [new Float32Array(48), new Float32Array(48)];
  expect(await streamed.read(requests, b)).toEqual(await memory.read(requests, a));
  expect(b).toEqual(a);
  fs.writeFileSync(path.join(folder, 'dark', '1.png'), '');
  for (let again = 0; again < 2; again++) {
    const damaged = await openImageData(folder, { ...options, memory: 0 });
    const [bad, next] = [new Float32Array(16), new Float32Array(16)];
    await damaged.read([{ record: 1, index: 0, flip: false }], bad);
    await damaged.read([{ record: 2, index: 0, flip: false }], next);
    expect(bad).toEqual(next);
    expect(damaged.skipped).toHaveLength(1);
    expect(damaged.fingerprint).not.toBe(streamed.fingerprint);
  }
  // However they are held: the same images for the same records, so that `data.memory` may change on the way.
  const sources = [await openImageData(folder, options), await openImageData(folder, { ...options, memory: 0 })];
  const all = Array.from({ length: 6 }, (_, record) => ({ record, index: record, flip: false }));
  const read = await Promise.all(
    sources.map(async (source) => {
      const out = new Float32Array(6 * 16);
      return { labels: await source.read(all, out), out, count: source.count };
    }),
  );
  expect(read[0].count).toBe(6);
  expect(read[1]).toEqual(read[0]);
});

test.each([
  [1, 0],
  [1, 1],
  [6, 1],
])('a set of %i images of which none can be read ends, whatever is borne: %i', async (count, maxUnreadable) => {
  const folder = path.join(root, `all-bad-${count}-${maxUnreadable}`);
  fs.mkdirSync(path.join(folder, 'a'), { recursive: true });
  for (let i = 0; i < count; i++) fs.writeFileSync(path.join(folder, 'a', `${i}.png`), `noise ${i}`);
  for (const memory of [0, 100]) {
    const read = async () => {
      const source = await openImageData(folder, { ...options, maxUnreadable, memory, size: 8 });
      return source.read(
        [0, 0, 0].map((record, index) => ({ record, index, flip: false })),
        new Float32Array(3 * 64),
      );
    };
    await expect(read()).rejects.toMatchObject({
      code: 'E_DATA',
      message: expect.stringMatching(/No image in .* can be read; the first: a\/0.png/),
    });
  }
});

test('the fingerprint does not depend on how images are held, or where they lie', async () => {
  const copy = path.join(root, 'fingerprint-copy');
  fs.cpSync(images, copy, { recursive: true });
  const all = [
    await openImageData(images, options),
    await openImageData(images, { ...options, memory: 0 }),
    await openImageData(copy, { ...options, memory: 0 }),
  ].map(({ fingerprint }) => fingerprint);
  expect(new Set(all).size).toBe(1);
  // Other pixels in a file of the same size.
  const file = path.join(copy, 'dark/0.png');
  fs.writeFileSync(
    file,
    fs.readFileSync(file).map((byte, i, bytes) => (i === bytes.length - 20 ? byte ^ 1 : byte)),
  );
  for (const memory of [0, 100]) expect((await openImageData(copy, { ...options, maxUnreadable: 1, memory })).fingerprint).not.toBe(all[0]);
});

describe('a fingerprint', () => {
  test.each<[string, (folder: string) => void]>([
    ['an added image', (folder) => fs.copyFileSync(path.join(folder, 'dark/0.png'), path.join(folder, 'dark/9.png'))],
    ['a removed image', (folder) => fs.rmSync(path.join(folder, 'dark/2.png'))],
    ['a renamed class', (folder) => fs.renameSync(path.join(folder, 'dark'), path.join(folder, 'dusk'))],
  ])('tells %s', async (name, change) => {
    const folder = path.join(root, name);
    writeImages(folder);
    for (const memory of [0, 100]) {
      const before = (await openImageData(folder, { ...options, memory })).fingerprint;
      expect((await openImageData(folder, { ...options, memory })).fingerprint).toBe(before);
      const copy = `${folder}-${memory}`;
      fs.cpSync(folder, copy, { recursive: true });
      change(copy);
      expect((await openImageData(copy, { ...options, memory })).fingerprint).not.toBe(before);
    }
  });
});

test.each<[string, (folder: string) => void, RegExp]>([
  [
    'photographs without a size',
    (folder) => {
      fs.mkdirSync(folder);
      fs.writeFileSync(
        path.join(folder, 'a.png'),
        encode({ data: new Uint8Array(100 * 80), width: 100, height: 80, channels: 1, depth: 8 }),
      );
    },
    /have 80 pixels a side.*data\.size=32.*encode/,
  ],
  ['a missing folder', () => {}, /does not exist/],
  ['a file', (folder) => fs.writeFileSync(folder, ''), /expected a folder of images/],
  ['no images', (folder) => fs.mkdirSync(folder), /has no image/],
  [
    'a class without an image',
    (folder) => {
      writeImages(folder);
      fs.mkdirSync(path.join(folder, 'empty'));
      fs.writeFileSync(path.join(folder, 'empty/readme.txt'), 'none yet');
    },
    /class folder .*empty.* no image that can be read.*class without an image: empty/,
  ],
  [
    'an empty class',
    (folder) => {
      writeImages(folder);
      fs.mkdirSync(path.join(folder, 'empty'));
    },
    /is empty/,
  ],
])('%s is a data error', async (name, make, message) => {
  const folder = path.join(root, name.replaceAll(' ', '-'));
  make(folder);
  await expect(openImageData(folder, options)).rejects.toMatchObject({
    code: expect.stringMatching(/^E_(DATA|IMAGE_SOURCE)$/),
    message: expect.stringMatching(message),
  });
});

test('the nearest neighbour recognises real images and not others', async () => {
  const data = await loadImageFolder(images, { channels: 1 });
  expect(recognisedShare(data, data.pixels, [...data.labels])).toBe(1);
  expect(
    recognisedShare(
      data,
      data.pixels,
      [...data.labels].map((label) => 1 - label),
    ),
  ).toBe(0);
  expect(nearestLabel(data, data.pixels.subarray(0, 16), 0)).toBe(0);
});
