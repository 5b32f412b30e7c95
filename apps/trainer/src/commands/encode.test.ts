import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { LatentCache } from '@dit-moe/data/node';
import { exitCodes } from '@dit-moe/kit';
import type { DitMoeError } from '@dit-moe/tensor-ops';
import sharp from 'sharp';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { exitCodeTable } from '../errors.js';
import { type EncodeFlags, encodeCommand } from './encode.js';

const vae = path.join(import.meta.dirname, '../../../../golden/vae/no_quant_conv');
let root: string;
let flags: EncodeFlags;
const printed: string[] = [];
beforeAll(async () => {
  vi.spyOn(console, 'log').mockImplementation((line: string) => void printed.push(line));
  vi.spyOn(process.stderr, 'write').mockReturnValue(true);
  root = await fs.mkdtemp(path.join(os.tmpdir(), 'encode-'));
  for (const [i, name] of ['cat', 'cat', 'cat', 'dog', 'dog', 'dog', 'dog', 'newt', 'newt', 'newt'].entries()) {
    await fs.mkdir(path.join(root, 'images', name), { recursive: true });
    const noise = { type: 'gaussian', mean: 20 * i, sigma: 10 } as const;
    const file = path.join(root, 'images', name, `${i}.png`);
    await sharp({ create: { width: 40, height: 30, channels: 3, background: 'black', noise } })
      .png()
      .toFile(file);
  }
  await fs.truncate(path.join(root, 'images/dog/4.png'), 200);
  flags = {
    images: path.join(root, 'images'),
    vae,
    out: path.join(root, 'latents'),
    size: 16,
    crop: 'center',
    seed: 0,
    flip: true,
    applyOrientation: false,
    dtype: 'f16',
    precision: 'f32',
    shardSize: 4,
    memory: 1,
    maxSkipped: 0.2,
    backend: 'tensorflow',
    json: true,
  };
});
afterAll(() => fs.rm(root, { recursive: true }));

test('images become latents, a broken one is named, workers make the same files', async () => {
  expect(await encodeCommand(flags)).toBe(exitCodes.ok);
  expect(JSON.parse(printed.at(-1)!)).toMatchObject({
    images: 9,
    encoded: 10,
    of: 3,
    skipped: [{ index: 4, key: 'dog/4.png' }],
    interrupted: false,
  });
  const cache = await LatentCache.open(flags.out);
  expect([...cache.labels]).toEqual([0, 0, 0, 1, 1, 1, 2, 2, 2]);
  expect(cache.classNames).toEqual(['cat', 'dog', 'newt']);
  const [plain, mirrored] = [await cache.read([0], [0]), await cache.read([0], [1])];
  expect(plain.length).toBe(16 * 8 * 8);
  expect(plain).not.toEqual(mirrored);
  expect(plain.every(Number.isFinite)).toBe(true);
  await cache.close();
  const shared = { ...flags, out: path.join(root, 'shared'), maxSkipped: 1 };
  for (const part of ['1/2', '0/2']) expect(await encodeCommand({ ...shared, part })).toBe(exitCodes.ok);
  for (const name of await fs.readdir(flags.out))
    expect(await fs.readFile(path.join(shared.out, name))).toEqual(await fs.readFile(path.join(flags.out, name)));
});

test('a worker says which shards are its own, also that it has none', async () => {
  const said = vi.mocked(process.stderr.write).mock.calls;
  const saidBy = async (part: string): Promise<string> => {
    said.length = 0;
    expect(await encodeCommand({ ...flags, out: path.join(root, 'parts'), maxSkipped: 1, part })).toBe(exitCodes.ok);
    return said.map(([text]) => text).join('');
  };
  expect(await saidBy('1/2')).toContain('worker 1 of 2: shards 1 to 2');
  expect(await saidBy('0/5')).toContain('worker 0 of 5: no shards');
});

test('wrong input ends with the exit code that says what is wrong', async () => {
  const code = async (changes: Partial<EncodeFlags>) =>
    encodeCommand({ ...flags, out: path.join(root, 'wrong'), ...changes }).catch(
      (error: DitMoeError) => exitCodeTable[error.code] ?? error,
    );
  expect(await code({ images: path.join(root, 'nowhere') })).toBe(exitCodes.data);
  expect(await code({ maxSkipped: 0.05 })).toBe(exitCodes.data);
  expect(await code({ vae: path.join(root, 'images') })).toBe(exitCodes.model);
  expect(await code({ vae: 'no-such-autoencoder' })).toBe(exitCodes.model);
  expect(await code({ size: 15 })).toBe(exitCodes.usage);
  expect(await code({ part: '2/2' })).toBe(exitCodes.usage);
  const of = { out: path.join(root, 'of-other-settings') };
  expect(await code(of)).toBe(exitCodes.ok);
  await expect(encodeCommand({ ...flags, ...of, flip: false })).rejects.toMatchObject({ code: 'E_LATENT_CACHE' });
});
