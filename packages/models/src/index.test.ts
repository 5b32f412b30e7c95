import { createHash } from 'node:crypto';
import fs from 'node:fs';
import { gzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { bundledModels } from './index.js';

/** What all of them together may take of a download. */
const LARGEST_BYTES = 6_000_000;

test.each(bundledModels)('$name is the file that its card describes, with data, licence, settings and measurements', ({ weights }) => {
  const bytes = fs.readFileSync(weights);
  const card = fs.readFileSync(new URL('README.md', weights), 'utf8');
  expect(card).toContain(createHash('sha256').update(bytes).digest('hex'));
  for (const part of [/^## Data$/m, /licen[cs]e/i, /^## Training$/m, /^steps: \d+$/m, /^## Judged$/m, /^dit-moe-trainer train --preset /m])
    expect(card).toMatch(part);
});

test('together they are a small download, which registries compress', () => {
  const total = bundledModels.reduce((sum, { weights }) => sum + gzipSync(fs.readFileSync(weights)).length, 0);
  expect(total).toBeLessThan(LARGEST_BYTES);
});
