/** Data sets as people have them: nothing is dropped, mixed or relabelled without a word. */
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { encodeNpz } from '@dit-moe/tensor-ops/io';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bmp, noise, png, tar, writeFiles } from '../../testing/make-files.js';
import { describeImages, fingerprintOf, type ImageSource, ImageSourceError, type ImageSourceOptions, openImages } from '../index.js';

let root: string;
let folders = 0;
beforeAll(async () => {
  root = await fs.mkdtemp(path.join(os.tmpdir(), 'data-people-'));
});
afterAll(() => fs.rm(root, { recursive: true }));

type Files = Readonly<Record<string, Uint8Array | string>>;
const make = (files: Files): Promise<string> => writeFiles(path.join(root, `set-${folders++}`), files);

/** Keys, labels and the line of a source, which is closed. */
async function read(location: string, options?: ImageSourceOptions) {
  const source = await openImages(location, options);
  const indices = Array.from({ length: source.count }, (_, i) => i);
  const found = {
    ...{ keys: indices.map((i) => source.key(i)), labels: indices.map((i) => source.label(i)) },
    ...{ names: source.classNames, empty: source.emptyClasses, line: describeImages(source), split: source.split },
  };
  for (const i of indices) await source.picture(i);
  await source.close();
  return found;
}
const refused = async (location: string, message: RegExp, options?: ImageSourceOptions): Promise<void> => {
  const error = await openImages(location, options).catch((thrown: unknown) => thrown);
  expect(ImageSourceError.isInstance(error), String(error)).toBe(true);
  expect((error as Error).message).toMatch(message);
};
const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);
describe('splits', () => {
  const shard = (seed: number) =>
    tar([
      [`${seed}.png`, png(seed)],
      [`${seed}.cls`, '1'],
    ]);

  test.each([
    ['imagenet1k-train-0000.tar', 'imagenet1k-validation-00.tar'],
    ['train-0.tar', 'val-0.tar'],
    ['x-train-0000.tar', 'x-validation-00.tar'],
    ['2023_test_000.tar', '2023_train_000.tar'],
    ['set.train.00.tar', 'set.dev.00.tar'],
    ['train/00000.tar', 'test/00000.tar'],
    ['data/train-00000-of-00001.tar', 'data/test-00000-of-00001.tar'],
  ])('%s beside %s are told apart, and chosen by name', async (a, b) => {
    const location = await make({ [a]: shard(1), [b]: shard(2), 'README.md': '' });
    await refused(location, /several splits .*--split (train|test|validation|val|dev)/);
    const split = ['train', 'test', 'validation', 'val', 'dev'].find((word) => a.includes(word))!;
    expect(await read(location, { split })).toMatchObject({
      keys: [`${path.basename(a)}/1`],
      split,
      line: expect.stringContaining(`split ${split}`),
    });
    expect((await read(location, { split: 'none' })).keys).toHaveLength(2);
    await refused(location, /no split "extra", but: .*To take all: --split none\./s, { split: 'extra' });
  });

  test('shards of one set are one source, other sets are not mixed in', async () => {
    const one = await make({ 'cifar10-train-0.tar': shard(1), 'cifar10-train-1.tar': shard(2), 'cifar10-train-10.tar': shard(3) });
    expect((await read(one)).keys).toEqual(['cifar10-train-0.tar/1', 'cifar10-train-1.tar/2', 'cifar10-train-10.tar/3']);
    expect((await read(await make({ '00000.tar': shard(1), '00001.tar': shard(2) }))).keys).toHaveLength(2);
    expect((await read(await make({ 'data0.tar': shard(1), 'data1.tar': shard(2), 'data2.tar': shard(3) }))).keys).toHaveLength(3);
    await refused(await make({ 'cifar10.tar': shard(1), 'cifar100.tar': shard(2) }), /several sets of files \(cifar10, cifar100\)/);
    await refused(await make({ 'a-train-0.tar': shard(1), 'b-train-0.tar': shard(2) }), /several sets of files/);
    const location = await make({ 'a-train-0.tar': shard(1), 'b-train-0.tar': shard(2) });
    expect((await read(path.join(location, '*-train-*.tar'))).keys).toHaveLength(2);
  });

  test('a folder of splits is one of them', async () => {
    const files: Files = Object.fromEntries(
      ['train', 'val'].flatMap((split) => ['cat', 'dog'].flatMap((name) => range(2).map((i) => [`${split}/${name}/${i}.png`, png(i)]))),
    );
    const location = await make(files);
    await refused(location, /several splits \(train, val\)/);
    expect(await read(location, { split: 'validation' })).toMatchObject({ names: ['cat', 'dog'], labels: [0, 0, 1, 1], split: 'val' });
    expect(await read(location, { split: 'none' })).toMatchObject({ names: ['train', 'val'] });
    const only = await make(Object.fromEntries(Object.entries(files).filter(([name]) => name.startsWith('train'))));
    expect(await read(only)).toMatchObject({ names: ['cat', 'dog'], split: 'train' });
    // A class may be called so, too.
    expect(await read(await make({ 'bus/0.png': png(1), 'train/0.png': png(2) }))).toMatchObject({
      names: ['bus', 'train'],
      labels: [0, 1],
    });
  });

  const pictures = (...names: string[]): Files => Object.fromEntries(names.map((name, i) => [name, png(i)]));
  test.each<[string, string[], chosen: { split: string; keys: string[]; names: string[] }]>([
    ['the year beside the word', ['train2017/0.png', 'val2017/1.png'], { split: 'val', keys: ['1.png'], names: [] }],
    ['words of one set', ['test_images/a/0.png', 'train_images/a/1.png'], { split: 'train', keys: ['a/1.png'], names: ['a'] }],
    ['in a folder of images', ['images/train/0.png', 'images/val/1.png'], { split: 'train', keys: ['0.png'], names: [] }],
    [
      'in a folder around them',
      ['ds/train/a/0.png', 'ds/train/b/1.png', 'ds/val/a/2.png'],
      { split: 'train', keys: ['a/0.png', 'b/1.png'], names: ['a', 'b'] },
    ],
    [
      'in each class',
      ['a/test/0.png', 'a/train/1.png', 'b/test/2.png', 'b/train/3.png'],
      { split: 'test', keys: ['a/test/0.png', 'b/test/2.png'], names: ['a', 'b'] },
    ],
    ['beside something else', ['annotations/0.png', 'train/a/1.png', 'val/a/2.png'], { split: 'val', keys: ['a/2.png'], names: ['a'] }],
  ])('folders of splits, %s', async (_, files, { split, ...chosen }) => {
    const location = await make(pictures(...files));
    await refused(location, /several splits .*--split/);
    expect(await read(location, { split })).toMatchObject({ ...chosen, split });
    expect((await read(location, { split: 'none' })).keys).toHaveLength(files.length);
  });

  test('classes that are called like splits, and a folder around classes', async () => {
    expect(await read(await make(pictures('bullet_train/0.png', 'dog/1.png', 'test_tube/2.png')))).toMatchObject({
      names: ['bullet_train', 'dog', 'test_tube'],
      split: undefined,
    });
    expect((await read(await make(pictures('ds/cat/0.png', 'ds/dog/1.png')))).line).toMatch(
      /1 class .*ds itself has folders, cat, dog: .*name .*ds/,
    );
    const archive = await make({ 'a.tar': tar(['train/cat/0.png', 'train/dog/1.png', 'val/cat/2.png'].map((name, i) => [name, png(i)])) });
    await refused(archive, /several splits \(train, val\)/);
    const train = await read(archive, { split: 'train' });
    expect(train.line).toMatch(/no labels: all are one class .*--labels folders: cat, dog/);
    expect(await read(archive, { split: 'train', labels: 'folders' })).toMatchObject({ names: ['cat', 'dog'], labels: [0, 1] });
  });

  test('shards that are missing are named', async () => {
    const location = await make({ '00000.tar': shard(0), '00001.tar': shard(1), '00003.tar': shard(3) });
    await refused(path.join(location, '{00000..00003}.tar'), /1 of its 4 files is missing: .*00002.tar/);
    await refused(path.join(location, '{00000,00009}.tar'), /00009.tar/);
    await refused(path.join(location, '{0..999999999}.tar'), /at most 100000/);
    expect((await read(path.join(location, '{00003..00003}.tar'))).keys).toEqual(['00003.tar/3']);
    expect((await read(location)).line).toMatch(/1 shard that is missing \(00002.tar\)/);
    const numbered = await make({ 'train-00000-of-00003.tar': shard(0), 'train-00002-of-00003.tar': shard(1) });
    expect((await read(numbered)).line).toMatch(/1 shard that is missing \(train-00001-of-00003.tar\)/);
    await refused(path.join(location, 'none-*.tar'), /no file has such a name/);
    await refused('https://example.org/a.tar', /files of this machine/);
  });

  test('kinds are not mixed', async () => {
    await refused(await make({ 'a.tar': shard(1), 'cat/1.png': png(1) }), /both a.tar and images such as cat\/1.png/);
    expect((await read(await make({ 'a.tar': shard(1), 'banner.png': png(1) }))).line).toMatch(/1 image beside the shards \(banner.png\)/);
    await refused(await make({ 'a.tgz': '' }), /compressed tar/);
    for (const ending of ['tar', 'parquet', 'npz'])
      await refused(
        await make({ [`a.${ending}`]: 'version https://git-lfs.github.com/spec/v1\noid sha256:4d\nsize 9\n' }),
        /pointer of Git LFS/,
      );
  });
});

describe('members of WebDataset samples', () => {
  const p = range(6).map((i) => png(i));
  const cls = (i: number, classes = 2): string => String(i % classes);
  const sets: Record<string, [members: [string, Uint8Array | string][], expected: Partial<Awaited<ReturnType<typeof read>>>]> = {
    'label and image not adjacent': [
      [...range(6).map((i): [string, string] => [`${i}.cls`, cls(i, 3)]), ...range(6).map((i): [string, Uint8Array] => [`${i}.png`, p[i]])],
      { labels: [0, 1, 2, 0, 1, 2], names: [] },
    ],
    'a dot in the name': [
      range(6).flatMap((i) => [
        [`${i}.05.png`, p[i]],
        [`${i}.05.cls`, cls(i)],
      ]),
      { labels: [0, 1, 0, 1, 0, 1] },
    ],
    'names that differ behind a dot': [
      range(6).flatMap((i) => [
        [`scan.${i}.png`, p[i]],
        [`scan.${i}.cls`, cls(i)],
      ]),
      { labels: [0, 1, 0, 1, 0, 1] },
    ],
    'names that differ behind a dot, without labels': [range(6).map((i) => [`scan.${i}.png`, p[i]]), { labels: range(6).map(() => -1) }],
    'names of words with labels of their own': [
      ['a', 'b'].flatMap((word, i) => [
        [`scan.${word}.png`, p[i]],
        [`scan.${word}.cls`, cls(i)],
      ]),
      { keys: ['a.tar/scan.a', 'a.tar/scan.b'], labels: [0, 1] },
    ],
    'text in JSON': [
      range(6).flatMap((i) => [
        [`${i}.png`, p[i]],
        [`${i}.json`, JSON.stringify({ label: ['dog', 'cat'][i % 2] })],
      ]),
      { names: ['cat', 'dog'], labels: [1, 0, 1, 0, 1, 0] },
    ],
    'a number as text in JSON': [
      range(6).flatMap((i) => [
        [`${i}.png`, p[i]],
        [`${i}.json`, `{"label": "${cls(i)}"}`],
      ]),
      { names: [], labels: [0, 1, 0, 1, 0, 1] },
    ],
    'another usual key': [
      range(4).flatMap((i) => [
        [`${i}.png`, p[i]],
        [`${i}.json`, `{"width": 9, "category_id": ${cls(i)}}`],
      ]),
      { labels: [0, 1, 0, 1] },
    ],
    'a key in another case': [
      range(2).flatMap((i) => [
        [`${i}.png`, p[i]],
        [`${i}.json`, `{"Label": ${cls(i)}}`],
      ]),
      { labels: [0, 1] },
    ],
    'a list of one': [
      range(2).flatMap((i) => [
        [`${i}.png`, p[i]],
        [`${i}.cls`, `[${3 - i}]`],
      ]),
      { names: [], labels: [3, 2] },
    ],
    'a text in quotation marks': [
      range(2).flatMap((i) => [
        [`${i}.png`, p[i]],
        [`${i}.cls`, `"${'yx'[i]}"`],
      ]),
      { names: ['x', 'y'], labels: [1, 0] },
    ],
    'a truth value': [
      range(2).flatMap((i) => [
        [`${i}.png`, p[i]],
        [`${i}.json`, `{"label": ${i === 0}}`],
      ]),
      { labels: [1, 0] },
    ],
    'other endings that say class': [
      [
        ['0.png', p[0]],
        ['0.label', '1'],
        ['1.png', p[1]],
        ['1.class', '0'],
        ['2.png', p[2]],
        ['2.cls.txt', '1'],
      ],
      { labels: [1, 0, 1] },
    ],
    'names from the root': [
      [
        ['./0.png', p[0]],
        ['0.cls', '1'],
        ['/1.png', p[1]],
        ['./1.cls', '0'],
      ],
      { keys: ['a.tar/0', 'a.tar/1'], labels: [1, 0] },
    ],
    'a number that is JSON': [
      range(2).flatMap((i) => [
        [`${i}.png`, p[i]],
        [`${i}.json`, cls(i)],
      ]),
      { labels: [0, 1] },
    ],
    'names in .cls': [
      range(4).flatMap((i) => [
        [`${i}.cls`, ['tabby cat\n', 'dog'][i % 2]],
        [`${i}.png`, p[i]],
      ]),
      { names: ['dog', 'tabby cat'], labels: [1, 0, 1, 0] },
    ],
    'names in .txt': [
      range(6).flatMap((i) => [
        [`${i}.png`, p[i]],
        [`${i}.txt`, ['cat', 'dog'][i % 2]],
      ]),
      { names: ['cat', 'dog'], labels: [0, 1, 0, 1, 0, 1] },
    ],
    'an image beside its mask': [
      range(2).flatMap((i) => [
        [`${i}.mask.png`, p[5]],
        [`${i}.png`, p[i]],
        [`${i}.cls`, cls(i)],
      ]),
      { keys: ['a.tar/0', 'a.tar/1'], labels: [0, 1] },
    ],
  };
  test.each(Object.keys(sets))('%s', async (name) => {
    const [members, expected] = sets[name];
    const found = await read(await make({ 'a.tar': tar(members) }));
    expect(found).toMatchObject(expected);
  });

  test('what cannot be told is refused with the name, what is left out or unlabelled is said', async () => {
    await refused(
      await make({
        'a.tar': tar(
          range(3).flatMap(
            (i) =>
              [
                ['0.png', p[i]],
                ['0.cls', cls(i)],
              ] as const,
          ),
        ),
      }),
      /0.png is there twice/,
    );
    await refused(
      await make({
        'a.tar': tar([
          ['0.png', p[0]],
          ['0.cls', '0.5'],
        ]),
      }),
      /0.cls: expected a class number or name/,
    );
    await refused(
      await make({
        'a.tar': tar([
          ['0.png', p[0]],
          ['0.cls', 'cat'],
          ['1.png', p[1]],
          ['1.cls', '3'],
        ]),
      }),
      /numbers, such as 3 .*1.cls.*names, such as "cat"/,
    );
    await refused(
      await make({
        'a.tar': tar([
          ['0.png', p[0]],
          ['0.json', '{'],
        ]),
      }),
      /0.json: it is not JSON/,
    );
    await refused(
      await make({
        'a.tar': tar([
          ['0.png', p[0]],
          ['0.json', '{"label": {"id": 1}}'],
        ]),
      }),
      /0.json: expected a class number .*\{"id":1\}/,
    );
    await refused(
      await make({
        'a.tar': tar([
          ['0.png', p[0]],
          ['0.json', '{"label": [0, 1]}'],
        ]),
      }),
      /0.json: expected a class number/,
    );
    await refused(await make({ 'a-0.tar': tar([['0.png', p[0]]]), 'a-1.tar': '' }), /a-1.tar: it is empty/);
    expect(
      (
        await read(
          await make({
            'a-0.tar': tar([
              ['0.png', p[0]],
              ['0.yaml', 'label: 1'],
            ]),
            'a-1.tar': tar([]),
          }),
        )
      ).line,
    ).toMatch(/there are .yaml\); 1 shard without an image \(a-1.tar\)/);
    const captions = await read(
      await make({
        'a.tar': tar(
          range(4).flatMap(
            (i) =>
              [
                [`${i}.png`, p[i]],
                [`${i}.txt`, `a photograph ${i}`],
              ] as const,
          ),
        ),
      }),
    );
    expect(captions.line).toMatch(/no labels: all are one class.*captions/);
    const foreign = await make({
      'a.tar': tar(
        range(2).flatMap(
          (i) =>
            [
              [`${i}.png`, p[i]],
              [`${i}.json`, `{"species": "${'xy'[i]}"}`],
            ] as const,
        ),
      ),
    });
    expect((await read(foreign)).line).toMatch(/no labels: .*species.*--label-column/);
    expect(await read(foreign, { labelColumn: 'species' })).toMatchObject({ names: ['x', 'y'], labels: [0, 1] });
    await refused(foreign, /no .json member has "genus"; they have species/, { labelColumn: 'genus' });
    const partly = await read(
      await make({
        'a.tar': tar([
          ['0.png', p[0]],
          ['0.cls', '1'],
          ['1.png', p[1]],
          ['2.cls', '0'],
          ['3.left.jpg', p[2]],
          ['3.right.jpg', p[3]],
        ]),
      }),
    );
    expect(partly.labels).toEqual([1, -1, -1]);
    expect(partly.line).toMatch(/2 images without a label \(a.tar: 1.png\)/);
    expect(partly.line).toMatch(/1 sample without an image \(a.tar: 2.cls\)/);
    expect(partly.line).toMatch(/1 further image of a sample \(a.tar: 3.right.jpg\)/);
  });

  test.each([2_000_000_000, 300_000_000, 100_000, -2])('the label %i is an error at once', async (label) => {
    await refused(
      await make({
        'a.tar': tar([
          ['0.png', p[0]],
          ['0.cls', String(label)],
        ]),
      }),
      /0.cls: (the label|expected)/,
    );
    await refused(
      await make({
        'a.tar': tar([
          ['0.png', p[0]],
          ['0.json', `{"label": ${label}}`],
        ]),
      }),
      /0.json: (the label|expected)/,
    );
    await refused(await make({ '0.png': p[0], 'labels.csv': `file,label\n0.png,${label}\n` }), /0.png: (the label|expected)/);
    await refused(await make({ '0.png': p[0], 'dataset.json': `{"labels": [["0.png", ${label}]]}` }), /0.png: (the label|expected)/);
  });
});

describe('folders', () => {
  test('formats that Pillow reads are read everywhere, and others are counted', async () => {
    const location = await make({
      'ant/0.png': png(0),
      'bee/0.bmp': bmp(1),
      'cow/0.ppm': Buffer.concat([Buffer.from('P6\n# c\n16 16\n255\n'), noise(2).data]),
      'cow/1.heic': 'x',
    });
    const found = await read(location);
    expect(found).toMatchObject({ names: ['ant', 'bee', 'cow'], labels: [0, 1, 2] });
    expect(found.line).toMatch(/1 file of a format that is not read \(cow\/1.heic\)/);
    const source = await openImages(location);
    expect(await source.picture(1)).toEqual(noise(1));
    expect(await source.picture(2)).toEqual(noise(2));
  });

  test('a class without images keeps its number and is named', async () => {
    const found = await read(await make({ 'ant/0.png': png(0), 'bee/readme.txt': '', 'cow/0.png': png(1) }));
    expect(found).toMatchObject({ names: ['ant', 'bee', 'cow'], labels: [0, 2], empty: ['bee'] });
    expect(found.line).toMatch(/class without an image: bee/);
    expect((await read(await make({ '0.png': png(0), 'notes/a.txt': '' }))).names).toEqual([]);
  });

  test('links are followed once, and those that lead back are named', async () => {
    const location = await make({ 'cat/0.png': png(0), 'dog/0.png': png(1), 'elsewhere-not/x.txt': '' });
    await fs.rm(path.join(location, 'elsewhere-not'), { recursive: true });
    const other = await make({ 'cow/0.png': png(2), 'cow/deep/1.png': png(3) });
    await fs.symlink('..', path.join(location, 'cat/up'));
    await fs.symlink('../dog', path.join(location, 'cat/friend'));
    await fs.symlink(path.join(other, 'cow'), path.join(location, 'cow'));
    await fs.symlink(root, path.join(location, 'dog/all'));
    await fs.symlink('../cat/0.png', path.join(location, 'dog/9.png'));
    const found = await read(location);
    expect(found).toMatchObject({ keys: ['cat/0.png', 'cow/0.png', 'cow/deep/1.png', 'dog/0.png', 'dog/9.png'], labels: [0, 1, 1, 2, 2] });
    expect(found.line).toMatch(/3 links to folders that are in the set already \(cat\/friend\)/);
  });

  test.runIf(process.platform === 'linux')('names that are not UTF-8 are read and named', async () => {
    const location = await make({ 'dog/0.png': png(0) });
    const folder = Buffer.concat([Buffer.from(`${location}/caf`), Buffer.of(0xe9)]);
    await fs.mkdir(folder);
    await fs.writeFile(Buffer.concat([folder, Buffer.from('/'), Buffer.of(0xff), Buffer.from('.png')]), png(1));
    const found = await read(location);
    expect(found).toMatchObject({ names: ['caf\\xE9', 'dog'], keys: ['caf\\xE9/\\xFF.png', 'dog/0.png'], labels: [0, 1] });
    expect(found.line).toMatch(/names that are not UTF-8/);
  });

  test('labels beside the files: dataset.json, tables, names', async () => {
    const images: Files = { '00000/img0.png': png(0), '00000/img1.png': png(1), '00001/img2.png': png(2) };
    const json = await make({
      ...images,
      'dataset.json': JSON.stringify({
        labels: [
          ['00000/img0.png', 2],
          ['00000/img1.png', 0],
          ['00001/img2.png', 2],
          ['gone.png', 1],
        ],
      }),
    });
    const found = await read(json);
    expect(found.labels).toEqual([2, 0, 2]);
    expect(found.line).toMatch(/labels 0 to 2 from dataset.json; 1 row of dataset.json without an image \(gone.png\)/);
    expect(await read(json, { labels: 'folders' })).toMatchObject({ names: ['00000', '00001'] });
    await refused(await make({ ...images, 'dataset.json': '{"labels": [1]}' }), /dataset.json: expected "labels"/);
    const tables: Record<string, string> = {
      'labels.csv': 'filename,label\n00000/img0.png,cat\n"00000/img1.png","a dog, brown"\n00001/img2.png,cat\n',
      'metadata.csv': 'file_name;other;label\n00000/img0.png;1;cat\n00000/img1.png;2;"a dog, brown"\n00001/img2.png;3;cat\n',
      'labels.tsv': 'img0\tcat\nimg1\ta dog, brown\nimg2\tcat',
      'metadata.jsonl': ['cat', 'a dog, brown', 'cat'].map((label, i) => JSON.stringify({ file_name: `img${i}.png`, label })).join('\n'),
    };
    for (const [name, table] of Object.entries(tables))
      expect(await read(await make({ ...images, [name]: table })), name).toMatchObject({
        names: ['a dog, brown', 'cat'],
        labels: [1, 0, 1],
      });
    await refused(await make({ ...images, 'labels.csv': 'file,label\nimg0.png,1\nimg0.png,2\n' }), /two labels for img0.png/);
    expect((await read(await make({ ...images, 'labels.csv': 'file,label\nimg0.png,1\n' }))).line).toMatch(/2 images without a label/);
    const named = await make({ 'tabby_cat_0001.png': png(0), 'tabby_cat_0002.png': png(1), 'dog-3.png': png(2) });
    expect(await read(named, { labels: 'names' })).toMatchObject({ names: ['dog', 'tabby_cat'], labels: [0, 1, 1] });
    expect((await read(named)).line).toMatch(/no labels: all are one class .*--labels names/);
    await refused(named, /there is no labels.csv/, { labels: 'labels.csv' });
    expect((await read(await make({ ...images, 'dataset.json': '{"labels": null}' }))).line).toMatch(
      /1 table without labels \(dataset.json\)/,
    );
    await refused(await make({ ...images, 'labels.csv/x.txt': '' }), /labels.csv: it is a folder/);
    const moved = await make({ ...images, 'labels.csv': 'path,label\n/data/00000/img0.png,2\n..\\00000\\img1.png,0\nimg2,1\n' });
    expect((await read(moved)).labels).toEqual([2, 0, 1]);
  });
});

describe('arrays', () => {
  const { data } = noise(3, 8);
  const array = (shape: number[], from = 0) => ({
    dtype: 'U8' as const,
    shape,
    data: data.slice(from, from + shape.reduce((a, b) => a * b)),
  });

  test('npz: splits by the names of the arrays, grey and planar ones', async () => {
    const location = await make({
      'medical.npz': await encodeNpz(
        new Map<string, Parameters<typeof encodeNpz>[0] extends ReadonlyMap<string, infer T> ? T : never>([
          ['train_images', array([3, 4, 4])],
          ['train_labels', { dtype: 'U8', shape: [3, 1], data: Uint8Array.of(2, 0, 1) }],
          ['val_images', array([2, 4, 4], 48)],
          ['val_labels', { dtype: 'U8', shape: [2, 1], data: Uint8Array.of(1, 1) }],
        ]),
      ),
    });
    await refused(location, /several arrays of images \(train_images, val_images\).*--split train/);
    expect(await read(location, { split: 'train' })).toMatchObject({
      labels: [2, 0, 1],
      split: 'train',
      line: expect.stringMatching(/array "train_labels"/),
    });
    const source = await openImages(location, { split: 'val' });
    expect([...(await source.picture(1)).data.filter((_, i) => i % 3 === 0)]).toEqual([...data.slice(64, 80)]);
    const planar = await openImages(await make({ 'x.npz': await encodeNpz(new Map([['arr_0', array([2, 3, 4, 5])]])) }));
    const { width, height, data: rgb } = await planar.picture(1);
    expect([width, height, rgb[3 * 7 + 2]]).toEqual([5, 4, data[60 + 2 * 20 + 7]]);
  });

  test('labels that do not fit are refused, not left out', async () => {
    const set = async (name: string, shape: number[]): Promise<string> =>
      make({
        'a.npz': await encodeNpz(
          new Map([
            ['arr_0', array([3, 4, 4])],
            [name, array(shape)],
          ]),
        ),
      });
    await refused(await set('arr_1', [2]), /"arr_1" \[2\] is no class number for each of the 3 images.*--labels none/);
    await refused(await set('labels', [3, 2]), /"labels" \[3,2\] is no class number/);
    expect((await read(await set('arr_1', [2]), { labels: 'none' })).labels).toEqual([-1, -1, -1]);
    await refused(await make({ 'a.npz': await encodeNpz(new Map([['arr_0', array([4, 4, 3])]])) }), /no array of 8-bit images/);
  });

  test('idx files as MNIST has them', async () => {
    const idx = (shape: number[], values: Uint8Array): Uint8Array => {
      const header = Buffer.alloc(4 + 4 * shape.length);
      header[2] = 8;
      header[3] = shape.length;
      for (const [i, n] of shape.entries()) header.writeUInt32BE(n, 4 + 4 * i);
      return Buffer.concat([header, values]);
    };
    const files = {
      'train-images-idx3-ubyte': idx([3, 4, 5], data.slice(0, 60)),
      'train-labels-idx1-ubyte': idx([3], Uint8Array.of(7, 0, 7)),
    };
    expect(await read(await make(files))).toMatchObject({ labels: [7, 0, 7], split: 'train' });
    const both = await make({
      ...files,
      't10k-images-idx3-ubyte': idx([1, 4, 5], data.slice(0, 20)),
      't10k-labels-idx1-ubyte': idx([1], Uint8Array.of(1)),
    });
    await refused(both, /several arrays/);
    expect(await read(both, { split: 'test' })).toMatchObject({ labels: [1] });
    await refused(await make({ 'train-images-idx3-ubyte': idx([4, 4, 5], data.slice(0, 60)) }), /cut off/);
  });
});

describe('a fingerprint', () => {
  const fingerprint = async (location: string): Promise<string> => {
    const source: ImageSource = await openImages(location);
    return fingerprintOf(source).finally(() => source.close());
  };
  const changes: Record<string, [before: Files, after: Files]> = {
    'other images under the same names in a tar': [
      {
        'a.tar': tar([
          ['0.png', png(1)],
          ['0.cls', '1'],
        ]),
      },
      {
        'a.tar': tar([
          ['0.png', png(2)],
          ['0.cls', '1'],
        ]),
      },
    ],
    'another label in a tar': [
      {
        'a.tar': tar([
          ['0.png', png(1)],
          ['0.cls', '1'],
        ]),
      },
      {
        'a.tar': tar([
          ['0.png', png(1)],
          ['0.cls', '2'],
        ]),
      },
    ],
    'a file replaced by one of the same size': [{ 'a/0.bmp': bmp(1) }, { 'a/0.bmp': bmp(2) }],
    'one byte in the middle': [{ 'a/0.bmp': bmp(1) }, { 'a/0.bmp': bmp(1).map((byte, i) => (i === 400 ? byte ^ 1 : byte)) }],
    'a renamed class': [{ 'a/0.png': png(1) }, { 'b/0.png': png(1) }],
  };
  test.each(Object.keys(changes))('tells %s, and is that of a copy', async (name) => {
    const [before, after] = changes[name];
    const location = await make(before);
    const first = await fingerprint(location);
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(await fingerprint(await make(before))).toBe(first);
    expect(await fingerprint(await make(after))).not.toBe(first);
  });
});
