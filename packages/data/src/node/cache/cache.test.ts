import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ImageSource, LatentsHeader, WriteLatentsOptions } from '../index.js';
import { decodeImage, fingerprintOf, ImageError, LatentCache, shardsOf, TooManySkippedError, writeLatents } from '../index.js';

const COUNT = 23;
const SIZE = 4;
/** Images that cannot be decoded, and one that cannot be read. */
const broken = new Set([3, 9, 10]);
let root: string;
const pngs: Buffer[] = [];
beforeAll(async () => {
  root = await fs.mkdtemp(path.join(os.tmpdir(), 'vae-cache-'));
  for (let i = 0; i < COUNT; i++) {
    const gradient = Uint8Array.from({ length: 3 * SIZE * SIZE }, (_, at) => 8 * i + at);
    pngs.push(
      await sharp(gradient, { raw: { width: SIZE, height: SIZE, channels: 3 } })
        .png()
        .toBuffer(),
    );
  }
});
afterAll(() => fs.rm(root, { recursive: true }));

const source: ImageSource = {
  location: 'memory',
  kind: 'folder',
  count: COUNT,
  classNames: ['even', 'odd'],
  labelsFrom: 'number',
  leftOut: [],
  emptyClasses: [],
  endings: new Set(['png']),
  key: (i) => `ünï/${i}.png`,
  label: (i) => i % 2,
  async picture(i, options) {
    if (i === 10) throw new ImageError(this.key(i), 'it cannot be read (EIO).');
    return decodeImage(broken.has(i) ? pngs[i].subarray(0, 40) : pngs[i], this.key(i), options);
  },
  content: async () => 'memory',
  close: async () => {},
};
let fingerprint: string;
beforeAll(async () => {
  fingerprint = await fingerprintOf(source);
});
const header = (changes: Partial<LatentsHeader> = {}): LatentsHeader => ({
  format: 'dit-moe-latents',
  version: 1,
  autoencoder: { name: 'test', encoderHash: 'abc', scalingFactor: 0.5, shiftFactor: 0, precision: 'f32' },
  momentsShape: [2, 1, 2],
  dtype: 'F16',
  preprocessing: { size: SIZE, crop: 'center', seed: 0, applyOrientation: false },
  flips: 2,
  source: { kind: 'folder', count: COUNT, fingerprint },
  classNames: source.classNames,
  shardSize: 5,
  ...changes,
});
/** "Moments": the first four bytes of each picture. */
const encode = async (pixels: Uint8Array): Promise<Float32Array> => {
  const bytes = 3 * SIZE * SIZE;
  return Float32Array.from({ length: (4 * pixels.length) / bytes }, (_, i) => pixels[Math.floor(i / 4) * bytes + (i % 4)] / 2);
};
const write = (folder: string, changes: Partial<WriteLatentsOptions> = {}) =>
  writeLatents({ source, folder: path.join(root, folder), header: header(), encode, batchSize: 4, maxSkipped: 0.2, ...changes });
const open = (folder: string) => LatentCache.open(path.join(root, folder));
/** Name and content of every file. */
async function content(folder: string): Promise<Map<string, string>> {
  const names = (await fs.readdir(path.join(root, folder))).sort();
  return new Map(
    await Promise.all(names.map(async (name) => [name, (await fs.readFile(path.join(root, folder, name))).toString('latin1')] as const)),
  );
}
async function openShards(): Promise<number> {
  const fds = await fs.readdir('/proc/self/fd').catch(() => []);
  const targets = await Promise.all(fds.map((fd) => fs.readlink(`/proc/self/fd/${fd}`).catch(() => '')));
  return targets.filter((target) => target.endsWith('.safetensors')).length;
}

describe('a latent cache', () => {
  test('holds moments, labels, keys and flips of the usable images, and names the others', async () => {
    const result = await write('whole');
    expect(result).toMatchObject({ done: COUNT, total: COUNT, encoded: COUNT, skipped: 3, interrupted: false });
    expect(result.skippedImages.map(({ key }) => key)).toEqual(['ünï/3.png', 'ünï/9.png', 'ünï/10.png']);
    const cache = await open('whole');
    const usable = Array.from({ length: COUNT }, (_, i) => i).filter((i) => !broken.has(i));
    expect(cache.count).toBe(usable.length);
    expect([...cache.labels]).toEqual(usable.map((i) => i % 2));
    expect(cache.skipped).toEqual(result.skippedImages);
    expect(cache.classNames).toEqual(['even', 'odd']);
    const order = [19, 0, 7, 7, 12];
    const moments = await cache.read(order, [0, 1, 0, 1, 0]);
    for (const [row, position] of order.entries()) {
      const image = usable[position];
      expect(await cache.key(position)).toBe(`ünï/${image}.png`);
      const mirrored = row % 2 === 1 ? 9 : 0; // The last pixel of the first row comes first.
      const bytes = [0, 1, 2, mirrored === 0 ? 3 : 6].map((at, c) => (8 * image + (c < 3 ? at + mirrored : at)) % 256);
      expect([...moments.subarray(4 * row, 4 * row + 4)]).toEqual(bytes.map((v) => v / 2));
    }
    const [first, second] = await Promise.all([cache.read([1, 2]), cache.read([2, 1])]);
    expect([...first.subarray(0, 4)]).toEqual([...second.subarray(4)]);
    await expect(cache.read([20])).rejects.toThrow(/\[0, 20\)/);
    await cache.close();
    expect(await openShards()).toBe(0);
  });

  test('is the same whoever writes it, and with which batches', async () => {
    await write('one');
    for (const index of [2, 0, 1]) await write('three', { shards: shardsOf({ index, count: 3 }, 5), batchSize: 7, maxSkipped: 1 });
    expect(await content('three')).toEqual(await content('one'));
  });

  test('goes on where it stopped', async () => {
    await write('one-go');
    const stop = new AbortController();
    const stopped = await write('two-goes', { signal: stop.signal, onProgress: ({ done }) => done === 12 && stop.abort() });
    expect(stopped).toMatchObject({ interrupted: true });
    await expect(open('two-goes')).rejects.toThrow(/3 of 5 shards are missing/);
    const partial = await LatentCache.open(path.join(root, 'two-goes'), { allowMissing: true });
    expect(partial.count).toBe(8);
    await partial.close();
    // What a killed process leaves behind.
    const left = path.join(root, 'two-goes', '.tmp-latents-00002-of-00005.safetensors-1-x');
    await fs.writeFile(left, 'x');
    const second = await write('two-goes');
    expect(second).toMatchObject({ encoded: 13, skipped: 3, interrupted: false });
    expect(await content('two-goes')).toEqual(await content('one-go'));
    expect(await openShards()).toBe(0);
  });

  test('refuses other settings by name and is not touched', async () => {
    await write('settings');
    const before = await content('settings');
    await expect(write('settings', { header: header({ flips: 1 }) })).rejects.toThrow(/flips 2; asked for: flips 1/);
    const other = { ...header().autoencoder, encoderHash: 'other' };
    await expect(write('settings', { header: header({ autoencoder: other }) })).rejects.toThrow(/autoencoder/);
    const renamed = { ...header().autoencoder, name: 'the same in another folder' };
    expect(await write('settings', { header: header({ autoencoder: renamed }) })).toMatchObject({ encoded: 0 });
    expect(await content('settings')).toEqual(before);
    await expect(write('new', { shards: [2, 9] })).rejects.toThrow(/range within 0\.\.5/);
  });

  test('too many unusable images end it early, and numbers that half precision cannot hold too', async () => {
    const error = await write('few', { maxSkipped: 0.1 }).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(TooManySkippedError);
    expect((error as Error).message).toMatch(/3 of 23.*more than 10 %:\n {2}ünï\/3\.png: it is truncated or damaged/s);
    await expect(write('large', { encode: async (pixels) => (await encode(pixels)).fill(70_000) })).rejects.toThrow(
      /70000, which F16 does not hold/,
    );
    expect((await fs.readdir(path.join(root, 'large'))).filter((name) => name !== 'latents.json')).toEqual([]);
    await expect(write('failing', { encode: () => Promise.reject(new Error('device lost')) })).rejects.toThrow('device lost');
  });

  test('damage is found when it is opened', async () => {
    await write('damaged');
    const file = path.join(root, 'damaged', 'latents-00001-of-00005.safetensors');
    const bytes = await fs.readFile(file);
    await fs.writeFile(file, bytes.subarray(0, bytes.length - 7));
    await expect(open('damaged')).rejects.toThrow(/latents-00001/);
    await fs.writeFile(file, Buffer.from(bytes.toString('latin1').replace(/"identity":"../, '"identity":"zz'), 'latin1'));
    await expect(open('damaged')).rejects.toThrow(/other settings/);
    await expect(LatentCache.open(path.join(root, 'nowhere'))).rejects.toThrow(/does not exist/);
    await write('plain', { header: header({ flips: 1, dtype: 'F32' }) });
    const cache = await open('plain');
    await expect(cache.read([0], [1])).rejects.toThrow(/no mirrored images/);
    expect([...(await cache.read([1]))]).toEqual([4, 4.5, 5, 5.5]);
    await cache.close();
    expect(await openShards()).toBe(0);
  });
});

describe('workers', () => {
  test('shards are shared without gap or overlap', () => {
    for (const [count, shards] of [
      [1, 5],
      [3, 5],
      [7, 5],
      [4, 320],
    ] as const) {
      const ranges = Array.from({ length: count }, (_, index) => shardsOf({ index, count }, shards));
      expect(ranges.flatMap(([a, b]) => Array.from({ length: b - a }, (_, i) => a + i))).toEqual(
        Array.from({ length: shards }, (_, i) => i),
      );
    }
  });
});
