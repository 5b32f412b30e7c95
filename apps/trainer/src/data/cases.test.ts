/** Data as people have it, as `train` answers it: the exit code and the sentence, or what is trained on. */

import fs from 'node:fs';
import path from 'node:path';
import { exitCodes } from '@dit-moe/kit';
import { afterAll, afterEach, expect, test, vi } from 'vitest';
import { bmp, png, tar } from '../../../../packages/data/src/testing/make-files.js';
import { exitCodeOf } from '../../../kit/src/exit-code-of.js';
import { exitCodeTable } from '../errors.js';
import { makeRoot, tinyConfig } from '../testing/tiny-run.js';
import { openData } from './open.js';

const { root } = makeRoot();
afterAll(() => fs.rmSync(root, { recursive: true }));
afterEach(() => void vi.restoreAllMocks());

type Files = Record<string, Uint8Array | string>;
const images = (folder: string, count = 3): Files =>
  Object.fromEntries(Array.from({ length: count }, (_, i) => [`${folder}/${i}.png`, png(i)]));
const sample = (name: string, i: number, label: string, ending = 'cls'): [string, Uint8Array | string][] => [
  [`${name}.png`, png(i)],
  [`${name}.${ending}`, label],
];
const six = (make: (i: number) => [string, Uint8Array | string][]): Uint8Array => tar(Array.from({ length: 6 }, (_, i) => make(i)).flat());

let sets = 0;
function write(files: Files, links: Record<string, string> = {}): string {
  const folder = path.join(root, `set-${sets++}`);
  for (const [name, content] of Object.entries(files)) {
    fs.mkdirSync(path.dirname(path.join(folder, name)), { recursive: true });
    fs.writeFileSync(path.join(folder, name), content);
  }
  for (const [name, to] of Object.entries(links)) fs.symlinkSync(to, path.join(folder, name));
  return folder;
}

async function answer(location: string, ...overrides: string[]) {
  const error = vi.spyOn(console, 'error').mockReturnValue();
  let found: { classNames: readonly string[]; count: number; summary: string } | undefined;
  const code = await exitCodeOf(async () => {
    const source = await openData(tinyConfig(location, 'data.size=4', ...overrides));
    found = source;
    await source.close();
    return exitCodes.ok;
  }, exitCodeTable);
  return {
    code,
    said: error.mock.calls.flat().join('\n'),
    ...(found && { classes: found.classNames, count: found.count, summary: found.summary }),
  };
}

test.each<[string, () => string, object]>([
  [
    'a class of BMP files',
    () => write({ ...images('ant'), 'bee/0.bmp': bmp(0), ...images('cow') }),
    { classes: ['ant', 'bee', 'cow'], count: 7 },
  ],
  [
    'a link that leads back',
    () => write({ ...images('cat'), ...images('dog') }, { 'cat/up': '..' }),
    { count: 6, summary: expect.stringMatching(/1 link .*cat\/up/) },
  ],
  [
    'labels before images',
    () =>
      write({
        'train-0.tar': tar([
          ...Array.from({ length: 6 }, (_, i): [string, string] => [`${i}.cls`, String(i % 3)]),
          ...Array.from({ length: 6 }, (_, i): [string, Uint8Array] => [`${i}.png`, png(i)]),
        ]),
      }),
    { classes: ['0', '1', '2'], count: 6 },
  ],
  ['a dot in the name', () => write({ 'train-0.tar': six((i) => sample(`${i}.05`, i, String(i % 2))) }), { classes: ['0', '1'], count: 6 }],
  [
    'the number behind a dot',
    () => write({ 'train-0.tar': six((i) => sample(`scan.${i}`, i, String(i % 2))) }),
    { classes: ['0', '1'], count: 6 },
  ],
  [
    'text in JSON',
    () => write({ 'train-0.tar': six((i) => sample(String(i), i, `{"label": "${['cat', 'dog'][i % 2]}"}`, 'json')) }),
    { classes: ['cat', 'dog'] },
  ],
  [
    'a number as text in JSON',
    () => write({ 'train-0.tar': six((i) => sample(String(i), i, `{"label": "${i % 2}"}`, 'json')) }),
    { classes: ['0', '1'] },
  ],
])('%s is read', async (_, make, expected) => {
  expect(await answer(make())).toMatchObject({ code: 0, said: '', ...expected });
});

test.each<[string, () => string, RegExp]>([
  [
    'a class without a picture',
    () => write({ ...images('ant'), 'bee/readme.txt': 'none yet', ...images('cow') }),
    /class folder .*bee is empty/,
  ],
  ['folders of splits', () => write({ ...images('train/cat'), ...images('val/cat', 1) }), /several splits \(train, val\).*--split/],
  [
    'shards of two splits',
    () =>
      write({
        'imagenet1k-train-0000.tar': six((i) => sample(String(i), i, '0')),
        'imagenet1k-validation-0000.tar': six((i) => sample(String(i), i, '0')),
      }),
    /several splits .*--split/,
  ],
  [
    'a missing shard',
    () =>
      path.join(
        write({ '00000.tar': six((i) => sample(String(i), i, '0')), '00002.tar': six((i) => sample(String(i), i, '0')) }),
        '{00000..00002}.tar',
      ),
    /1 of its 3 files is missing: .*00001\.tar/,
  ],
  [
    'a label of 2,000,000,000',
    () => write({ 'train-0.tar': six((i) => sample(String(i), i, '2000000000')) }),
    /0\.cls: the label 2000000000/,
  ],
  [
    'one name three times',
    () => write({ 'train-0.tar': tar([0, 1, 2].flatMap((i) => sample('0', i, String(i)))) }),
    /0\.png is there twice/,
  ],
])('%s is refused with exit code 3', async (_, make, message) => {
  const { code, said } = await answer(make());
  expect(said).toMatch(message);
  expect(code).toBe(exitCodes.data);
});
