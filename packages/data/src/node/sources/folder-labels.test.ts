import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { expect, test } from 'vitest';
import { labelsBeside } from './folder-labels.js';
import { LeftOutCounter } from './image-source.js';

test('a table is the same whether it is read in one piece or in many, with lines inside of cells', async () => {
  const folder = await fs.mkdtemp(path.join(os.tmpdir(), 'labels-'));
  const keys = Array.from({ length: 12_000 }, (_, i) => `a\n${i}, of a long name.png`);
  const lines = keys.map((key, i) => `"${key}",${i % 7}`);
  await fs.writeFile(path.join(folder, 'labels.csv'), `file,label\n${lines.join('\n')}\n`);
  const labels = await labelsBeside([folder], keys, {}, new LeftOutCounter());
  expect(Array.from(labels!.numbers)).toEqual(keys.map((_, i) => i % 7));
  await fs.rm(folder, { recursive: true });
});
