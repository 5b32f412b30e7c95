import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { png, tar, writeFiles } from '../../testing/make-files.js';
import { openImages } from './open.js';

let root: string;
beforeAll(async () => {
  root = await fs.mkdtemp(path.join(os.tmpdir(), 'class-names-'));
});
afterAll(() => fs.rm(root, { recursive: true }));

/** A shard with labels 1 and 0, and names beside it. */
const shard = (name: string, classes?: string): Promise<string> =>
  writeFiles(path.join(root, name), {
    'a.tar': tar([
      ['0.png', png(0)],
      ['0.cls', '1'],
      ['1.png', png(1)],
      ['1.cls', '0'],
    ]),
    ...(classes !== undefined && { 'classes.txt': classes }),
  });

test('labels that are numbers get names from classes.txt beside the shards', async () => {
  const named = await openImages(await shard('named', '\ufeffcat\r\ndog\n'));
  expect([named.classNames, named.classNames[named.label(0)]]).toEqual([['cat', 'dog'], 'dog']);
  await named.close();
  const numbered = await openImages(await shard('numbered'));
  expect(numbered.classNames).toEqual([]);
  await numbered.close();
});

test.each([
  ['twice', 'cat\ncat\n', /lines 1 and 2 both say "cat"/],
  ['empty', 'cat\n\ndog', /line 2 is empty: class 1 has no name/],
])('names that are %s are refused', async (name, classes, message) => {
  const folder = await shard(name, classes);
  await expect(openImages(folder)).rejects.toThrow(message);
});
