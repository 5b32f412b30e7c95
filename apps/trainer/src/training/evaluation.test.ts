import fs from 'node:fs';
import path from 'node:path';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeRoot, metricsLines, runTiny, tinyConfig } from '../testing/tiny-run.js';

let folders: ReturnType<typeof makeRoot>;
beforeAll(async () => {
  await useTensorFlow();
  folders = makeRoot();
});
afterAll(() => fs.rmSync(folders.root, { recursive: true, force: true }));

test('online metrics come every N steps, carry their number of images in the name, and say what they compare with', async () => {
  const out = folders.newRun();
  const { messages } = await runTiny(tinyConfig(folders.images, 'evaluation={every: 2, samples: 4}'), out);
  const lines = metricsLines(out) as { step: number; evaluation?: Record<string, number> }[];
  expect(lines.filter(({ evaluation }) => evaluation !== undefined).map(({ step }) => step)).toEqual([2, 4]);
  for (const { evaluation } of lines) {
    if (evaluation === undefined) continue;
    expect(Object.keys(evaluation)).toEqual(['online/fd_pool_n4', 'online/kd_pool_n4']);
    for (const value of Object.values(evaluation)) expect(value).toEqual(expect.any(Number));
  }
  expect(messages.join('\n')).toMatch(/Frechet distance of 4 images: .*compare only with others of 4 images/);
  expect(fs.readFileSync(path.join(out, 'report.html'), 'utf8')).toMatch(/From 4 samples: comparable within this run/);
});
