import { createHash } from 'node:crypto';
import fs from 'node:fs';
import { expect, test } from 'vitest';
import { bundledModels } from './index.js';

/** What all of them together may take, as they lie on the disk. */
const LARGEST_BYTES = 6_000_000;

test.each(bundledModels)('$name is the file that its card describes, with data, licence, settings and measurements', ({ weights }) => {
  const bytes = fs.readFileSync(weights);
  const card = fs.readFileSync(new URL('README.md', weights), 'utf8');
  expect(card).toContain(createHash('sha256').update(bytes).digest('hex'));
  for (const part of [
    /^## Data$/m,
    /^## Evaluation$/m,
    /^## Licence$/m,
    /^license: apache-2\.0$/m,
    /^## Training$/m,
    /^steps: \d+$/m,
    /^## Judged$/m,
    /^dit-moe-trainer train --preset /m,
  ])
    expect(card).toMatch(part);
});

test('together they are small, with their cards', () => {
  const folders = bundledModels.map(({ weights }) => new URL('.', weights));
  const files = folders.flatMap((folder) => fs.readdirSync(folder).map((name) => new URL(name, folder)));
  const total = files.reduce((sum, file) => sum + fs.statSync(file).size, 0);
  expect(total).toBeLessThan(LARGEST_BYTES);
});
