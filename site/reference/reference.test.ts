import fs from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { root } from '../../release/packages.js';
import { generatedPages } from './index.js';
import { commentedProperties } from './source-comments.js';

test('the pages of the reference are those of the code; else: pnpm docs:reference', async () => {
  for (const [file, text] of Object.entries(await generatedPages())) {
    expect(fs.readFileSync(path.join(root, 'docs/reference', file), 'utf8'), file).toBe(text);
  }
});

test('every line of a preset of a paper says where it is from, but the word of the router that it is named after', () => {
  const papers = commentedProperties('apps/trainer/src/config/paper-presets.ts', 'papers');
  const leaves = papers.filter(({ path: at, value }) => /^[^.]+\.moe\./.test(at) && !value.startsWith('{'));
  expect(leaves.length).toBeGreaterThan(50);
  const silent = leaves.filter(({ behind, path: at }) => behind === '' && !at.endsWith('.router'));
  expect(silent.map(({ path: at }) => at)).toEqual([]);
});
