import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { imagenetClasses } from '../../pictures/imagenet.js';
import { tar } from '../../testing/make-files.js';
import { describeImages, ImageError, type ImageSource, ImageSourceError, openImages } from '../index.js';

/** Damaged copies of each parquet and tar file; `DIT_MOE_FUZZ` makes more, `DIT_MOE_FUZZ_SEED` others. */
const MUTATIONS = Number(process.env['DIT_MOE_FUZZ'] ?? 100);

const fixtures = path.join(import.meta.dirname, '../../../test/fixtures');
let folder: string;
let png: Buffer;
beforeAll(async () => {
  folder = await fs.mkdtemp(path.join(os.tmpdir(), 'vae-sources-'));
  png = await sharp({ create: { width: 4, height: 3, channels: 3, background: { r: 70, g: 20, b: 30 } } })
    .png()
    .toBuffer();
});
afterAll(() => fs.rm(folder, { recursive: true }));

/** Makes a folder with these files. */
async function files(name: string, content: Record<string, Uint8Array | string>): Promise<string> {
  const root = path.join(folder, name);
  for (const [file, bytes] of Object.entries(content)) {
    await fs.mkdir(path.dirname(path.join(root, file)), { recursive: true });
    await fs.writeFile(path.join(root, file), bytes);
  }
  return root;
}
const all = (source: ImageSource) => Array.from({ length: source.count }, (_, i) => [source.key(i), source.label(i)]);
/** How many of our files this process has open (Linux). */
async function openFiles(): Promise<number> {
  const fds = await fs.readdir('/proc/self/fd').catch(() => []);
  const targets = await Promise.all(fds.map((fd) => fs.readlink(`/proc/self/fd/${fd}`).catch(() => '')));
  return targets.filter((target) => /\.(tar|parquet)$/.test(target)).length;
}

describe('image folder', () => {
  test('classes by name, numbers by value, images at any depth', async () => {
    const root = await files('plain', {
      '10/a.png': png,
      '2/b.JPG': png,
      '2/deep/c.webp': png,
      '2/notes.txt': 'x',
      'loose.png': png,
      '.git/d.png': png,
    });
    const source = await openImages(root);
    expect(source.classNames).toEqual(['2', '10']);
    expect(all(source)).toEqual([
      ['2/b.JPG', 0],
      ['2/deep/c.webp', 0],
      ['10/a.png', 1],
      ['loose.png', -1],
    ]);
    expect(await source.picture(0)).toMatchObject({ width: 4, height: 3, channels: 3 });
  });

  test("ImageNet's folder names have ImageNet's numbers", async () => {
    expect(imagenetClasses.length).toBe(1000);
    expect([...imagenetClasses].sort()).toEqual(imagenetClasses);
    const source = await openImages(await files('imagenet', { 'n15075141/a.png': png, 'n01440764/a.png': png, 'n02123045/a.png': png }));
    expect(all(source).map(([, label]) => label)).toEqual([0, 281, 999]); // tench, tabby, toilet tissue
    expect(source.classNames).toBe(imagenetClasses);
    const other = await openImages(await files('mixed', { 'n01440764/a.png': png, 'my-cat/a.png': png }));
    expect(all(other).map(([, label]) => label)).toEqual([0, 1]);
  });

  test('what cannot be used is refused, a file that vanished is named', async () => {
    await expect(openImages(path.join(folder, 'nowhere'))).rejects.toThrow(/nowhere: it does not exist/);
    await expect(openImages(await files('empty', { 'a/readme.md': '' }))).rejects.toThrow(ImageSourceError);
    const root = await files('vanishing', { 'a/1.png': png });
    const source = await openImages(root);
    await fs.rm(path.join(root, 'a/1.png'));
    await expect(source.picture(0)).rejects.toThrow('a/1.png: it cannot be read (ENOENT)');
  });
});

describe('WebDataset', () => {
  test.each(['gnu.tar', 'pax.tar'])('%s: long names, labels, several images of a sample', async (name) => {
    const before = await openFiles();
    const source = await openImages(path.join(fixtures, name));
    const long = `${'a'.repeat(120)}/${'b'.repeat(90)}/000000`;
    expect(all(source)).toEqual([
      [`${name}/${long}`, 7],
      [`${name}/x/01`, 3],
      [`${name}/ünï/3`, -1],
    ]);
    expect([...(await source.picture(0)).data.subarray(0, 3)]).toEqual([10, 20, 30]);
    await expect(source.picture(2)).rejects.toThrow(/ünï\/3: it is not an image but text/);
    await source.close();
    expect(await openFiles()).toBe(before);
  });

  test('shards by folder, braces and star are one source; splits are not mixed', async () => {
    const tar = await fs.readFile(path.join(fixtures, 'gnu.tar'));
    const root = await files('shards', { 'train-000.tar': tar, 'train-001.tar': tar, 'train-002.tar': tar });
    const counts = [root, path.join(root, 'train-{000..001}.tar'), path.join(root, 'train-*1.tar')].map(async (location) => {
      const source = await openImages(location);
      await source.close();
      return source.count;
    });
    expect(await Promise.all(counts)).toEqual([9, 6, 3]);
    await expect(openImages(await files('splits', { 'train-0.tar': tar, 'val-0.tar': tar }))).rejects.toThrow(/splits \(train, val\)/);
    await expect(openImages(path.join(root, 'test-*.tar'))).rejects.toThrow(/no file has such a name/);
  });

  test('damaged archives are refused and leave no open file', async () => {
    const before = await openFiles();
    const tar = await fs.readFile(path.join(fixtures, 'gnu.tar'));
    const flipped = Buffer.from(tar);
    flipped[10] ^= 1;
    const cases: [Record<string, Uint8Array>, RegExp][] = [
      [{ 'a.tar': tar.subarray(0, 1200) }, /truncated/],
      [{ 'b.tar': flipped }, /no tar header at byte 0/],
      [{ 'c.tar.gz': tar }, /compressed/],
      [{ 'd.tar': new Uint8Array(1024) }, /no image/],
    ];
    for (const [content, message] of cases)
      await expect(openImages(await files(`bad-${message.source}`.replaceAll(/\W/g, ''), content))).rejects.toThrow(message);
    expect(await openFiles()).toBe(before);
  });
});

describe('parquet', () => {
  test('files of the datasets library: labels, class names, row groups, compressions', async () => {
    const before = await openFiles();
    const source = await openImages(path.join(fixtures, 'train-*.parquet'));
    expect(source.classNames).toEqual(['cat', 'dog', 'newt']);
    expect(all(source).map(([, label]) => label)).toEqual([0, 1, 2, 1, 0, 2, 2, -1]);
    expect(source.key(6)).toBe('train-00001-of-00002.parquet/1');
    for (const index of [0, 4, 1, 7, 5]) {
      expect([...(await source.picture(index)).data.subarray(0, 3)]).toEqual([10 * index, 20, 30]);
    }
    await source.close();
    expect(await openFiles()).toBe(before);
  });

  test('labels that are text in a column of another name are asked for, and found by name', async () => {
    const file = path.join(fixtures, 'text-labels.parquet');
    const plain = await openImages(file);
    expect(describeImages(plain)).toMatch(
      /no labels: all are one class \(there are the columns breed, width; name the one of the class: --label-column\)/,
    );
    await plain.close();
    const source = await openImages(file, { labelColumn: 'breed' });
    expect(source.classNames).toEqual(['poodle', 'pug', 'tabby']);
    expect(all(source).map(([, label]) => label)).toEqual([2, 0, 2, 1, 1, 0]);
    expect(describeImages(source)).toBe('6 images (parquet), 3 classes from column "breed"');
    await source.close();
    await expect(openImages(file, { labelColumn: 'race' })).rejects.toThrow(/no column "race"; it has image, breed, width/);
    await expect(openImages(file, { imageColumn: 'picture' })).rejects.toThrow(/no column "picture"/);
  });

  test('columns that are not there, and damaged files, are refused', async () => {
    const file = path.join(fixtures, 'train-00000-of-00002.parquet');
    await expect(openImages(file, { imageColumn: 'picture' })).rejects.toThrow(/no column "picture"; it has image, label/);
    await expect(openImages(file, { labelColumn: 'class' })).rejects.toThrow(/no column "class"/);
    const bytes = await fs.readFile(file);
    const root = await files('bad-parquet', { 'a.parquet': bytes.subarray(0, 900) });
    await expect(openImages(root)).rejects.toThrow(/cannot be read as parquet/);
  });
});

test('whatever bytes change in a file, it is read, or refused with its name; nothing escapes', {
  timeout: Math.max(300_000, 1000 * MUTATIONS),
}, async () => {
  const fixture = async (name: string) => [name, await fs.readFile(path.join(fixtures, name))] as const;
  const members = Array.from({ length: 8 }, (_, i): [string, Uint8Array | string][] => [
    [`${i}.png`, png],
    [`${i}.cls`, String(i % 3)],
    [`${i}.json`, `{"label": ${i}}`],
  ]);
  const originals = [
    ...(await Promise.all(['train-00000-of-00002.parquet', 'text-labels.parquet', 'gnu.tar', 'pax.tar'].map(fixture))),
    ['labels.tar', Buffer.from(tar(members.flat()))] as const,
  ];
  const escaped: unknown[] = [];
  const onRejection = (reason: unknown): void => void escaped.push(reason);
  process.on('unhandledRejection', onRejection);
  const before = await openFiles();
  let state = Number(process.env['DIT_MOE_FUZZ_SEED'] ?? 7);
  const next = (below: number): number => ((state = (Math.imul(state, 1664525) + 1013904223) >>> 0) >>> 8) % below;
  let [refusals, unreadable] = [0, 0];
  try {
    for (const [name, original] of originals) {
      const file = `a${path.extname(name)}`;
      for (let run = 0; run < MUTATIONS; run++) {
        const bytes = Buffer.from(original);
        for (let i = 0; i < 1 + next(6); i++) bytes[next(bytes.length)] = next(256);
        const root = await files(`fuzz-${name}-${run}`, { [file]: run % 10 === 0 ? bytes.subarray(0, next(bytes.length)) : bytes });
        const options = name.startsWith('text') ? { labelColumn: 'breed' } : {};
        const source = await openImages(path.join(root, file), options).catch((error: unknown) => error);
        if (source instanceof Error) {
          expect(ImageSourceError.isInstance(source), source.stack).toBe(true);
          expect(source.message).toContain(file);
          refusals++;
          continue;
        }
        const { count, picture, close } = source as ImageSource;
        for (let i = 0; i < Math.min(count, 20); i++)
          await picture(i).catch((error: Error) => {
            expect(ImageError.isInstance(error), error.stack).toBe(true);
            unreadable++;
          });
        await close();
        await fs.rm(root, { recursive: true });
      }
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  } finally {
    process.off('unhandledRejection', onRejection);
  }
  expect(escaped).toEqual([]);
  expect(Math.min(refusals, unreadable)).toBeGreaterThan(10);
  expect(await openFiles()).toBe(before);
});
