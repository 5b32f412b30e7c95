import { createHash } from 'node:crypto';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { openImages } from '@dit-moe/data/node';
import { DataError } from '@dit-moe/kit';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { type DataPackage, withPackage } from './clients.js';
import { writeEmoji } from './emoji.js';
import { writeFashionMnist } from './fashion-mnist.js';

let root: string;
beforeAll(async () => {
  root = await fs.mkdtemp(path.join(os.tmpdir(), 'datasets-'));
});
afterAll(() => fs.rm(root, { recursive: true }));

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
/** An idx file of bytes. */
const idx = (shape: readonly number[], values: readonly number[]): Uint8Array =>
  gzipSync(Buffer.concat([Buffer.from([0, 0, 8, shape.length]), ...shape.map((n) => Buffer.from([0, 0, 0, n])), Buffer.from(values)]));

describe('fashion-mnist', () => {
  const files: Record<string, Uint8Array> = {
    'train-images-idx3-ubyte.gz': idx([2, 1, 1], [7, 9]),
    'train-labels-idx1-ubyte.gz': idx([2], [9, 0]),
    't10k-images-idx3-ubyte.gz': idx([1, 1, 1], [5]),
    't10k-labels-idx1-ubyte.gz': idx([1], [7]),
  };
  const sums = Object.fromEntries(Object.entries(files).map(([name, bytes]) => [name, sha256(bytes)]));
  let from: string;
  beforeAll(async () => {
    from = path.join(root, 'idx');
    await fs.mkdir(from);
    for (const [name, bytes] of Object.entries(files)) await fs.writeFile(path.join(from, name), bytes);
  });

  test('is two splits of numbered images whose classes have names', async () => {
    const folder = path.join(root, 'fashion');
    await fs.mkdir(folder);
    await writeFashionMnist(folder, { from }, sums);
    const train = await openImages(folder, { split: 'train' });
    expect([train.count, train.classNames[train.label(0)], train.classNames[train.label(1)]]).toEqual([2, 'boot', 't-shirt']);
    const test = await openImages(folder, { split: 'test' });
    expect([test.count, test.classNames[test.label(0)]]).toEqual([1, 'sneaker']);
  });

  test('a file that is not the published one is named', async () => {
    await expect(writeFashionMnist(root, { from })).rejects.toThrow(/train-images-idx3-ubyte.gz is not the published file/);
  });

  test('files that are missing are named', async () => {
    await expect(writeFashionMnist(root, { from: root })).rejects.toThrow(/has no train-images-idx3-ubyte.gz, train-labels/);
  });
});

test('emoji lie on white, by class and split; swatches of skin colour are none', async () => {
  const [from, folder] = [path.join(root, 'package'), path.join(root, 'emoji')];
  await fs.mkdir(path.join(from, 'img/google/64'), { recursive: true });
  const table = Array.from({ length: 11 }, (_, i) => ({
    image: `${i}.png`,
    category: i === 10 ? 'Component' : 'Food & Drink',
    sort_order: i,
  }));
  const clear = { create: { width: 64, height: 64, channels: 4, background: { r: 200, g: 0, b: 0, alpha: 0 } } } as const;
  for (const { image } of table)
    await sharp(clear)
      .png()
      .toFile(path.join(from, 'img/google/64', image));
  await fs.writeFile(path.join(from, 'emoji.json'), JSON.stringify(table));
  const wrong = await writeEmoji(folder, { from }).catch((error: DataError) => error);
  expect(DataError.isInstance(wrong)).toBe(true);
  await writeEmoji(folder, { from }, (wrong as DataError).found as string);
  const [train, held] = await Promise.all(['train', 'test'].map((split) => openImages(path.join(folder, split, 'food', '..'))));
  expect([train.count, held.count]).toEqual([9, 1]);
  expect(held.key(0)).toBe('food/9.png');
  expect([...(await train.picture(0)).data].every((value) => value === 255)).toBe(true);
});

describe('package clients', () => {
  const wanted: DataPackage = { name: 'the package x', commands: [['sh', '-c', 'mkdir out; echo 1 > out/a']], folder: 'out', files: ['a'] };
  const read = (folder: string) => fs.readFile(path.join(folder, 'a'), 'utf8');

  test('what they unpack is handed over, and gone afterwards', async () => {
    const [seen, content] = await withPackage(wanted, {}, async (folder) => [folder, await read(folder)]);
    expect(content).toBe('1\n');
    await expect(fs.stat(seen)).rejects.toThrow(/ENOENT/);
  });

  test.each<[string, DataPackage, RegExp]>([
    ['a client that is missing', { ...wanted, commands: [['no-such-client']] }, /fetched with no-such-client, which this machine lacks/],
    ['a client that fails', { ...wanted, commands: [['sh', '-c', 'echo no network >&2; exit 4']] }, /failed:\nno network/],
    ['another package', { ...wanted, files: ['a', 'b'] }, /has no b, which the package x has/],
  ])('%s is said', async (_, dataPackage, message) => {
    const error = await withPackage(dataPackage, {}, read).catch((error: Error) => error);
    expect(DataError.isInstance(error)).toBe(true);
    expect((error as Error).message).toMatch(message);
  });

  test('an interruption ends the client, and leaves nothing behind', async () => {
    const [stop, pid] = [new AbortController(), path.join(root, 'pid')];
    const slow: DataPackage = { ...wanted, commands: [['sh', '-c', `echo $$ > ${pid}; exec sleep 60`]] };
    const ended = withPackage(slow, { signal: stop.signal }, read).catch((reason) => reason);
    const client = await vi.waitUntil(async () => Number(await fs.readFile(pid, 'utf8').catch(() => 0)), 30_000);
    stop.abort('SIGINT');
    expect(await ended).toBe('SIGINT');
    await vi.waitFor(() => expect(() => process.kill(client, 0)).toThrow(/ESRCH/), 30_000);
  });
});
