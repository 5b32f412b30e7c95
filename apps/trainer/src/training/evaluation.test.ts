import fs from 'node:fs';
import path from 'node:path';
import { classifierSpecs } from '@dit-moe/metrics';
import { saveClassifier } from '@dit-moe/metrics/node';
import { ParameterSet } from '@dit-moe/tensor-ops';
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

test('a classifier of the same classes judges the samples; one of other classes is refused', async () => {
  const classifierOf = async (classNames: readonly string[]) => {
    const about = { size: 4, classNames };
    const weights = ParameterSet.create(classifierSpecs(about), 0);
    const file = path.join(folders.root, `${classNames.join('-')}.safetensors`);
    await saveClassifier(file, weights, about);
    weights.dispose();
    return file;
  };
  const out = folders.newRun();
  const evaluation = (file: string) => `evaluation={every: 4, samples: 4, classifier: ${file}}`;
  await runTiny(tinyConfig(folders.images, evaluation(await classifierOf(['dark', 'light']))), out);
  const judged = metricsLines(out).at(-1).evaluation as Record<string, number>;
  expect(Object.keys(judged)).toEqual(['online/fd_pool_n4', 'online/kd_pool_n4', 'online/accuracy_n4']);
  expect([0, 0.25, 0.5, 0.75, 1]).toContain(judged['online/accuracy_n4']);
  const other = runTiny(tinyConfig(folders.images, evaluation(await classifierOf(['cat', 'dog']))), folders.newRun());
  await expect(other).rejects.toThrow(/tells other classes than those of the data/);
});
