import { expect, test } from 'vitest';
import { tinyConfig } from '../testing/tiny-run.js';
import { remarks } from './remarks.js';

test.each<[string[], number, RegExp[]]>([
  [[], 6, []],
  [['batchSize=6'], 6, []],
  [['batchSize=8'], 6, [/batch of 8 is larger than the data \(6 images\)/]],
  [['optimizer={warmupSteps: 3}'], 6, []],
  [['optimizer={warmupSteps: 8, learningRate: 0.1}'], 6, [/warm-up of 8 steps .* run of 4: .* ends at 0\.050/]],
  [['checkpoints.every=5'], 6, [/saved at its end only/]],
])('%j with %i images', (overrides, count, expected) => {
  const found = remarks(tinyConfig('/nowhere', ...overrides), { count });
  expect(found).toHaveLength(expected.length);
  for (const [i, message] of expected.entries()) expect(found[i]).toMatch(message);
});

test.each<[string[], number | undefined, number]>([
  [['data.size=64'], 90_000, 1],
  [['data.size=64'], 80_000, 0],
  [['data.size=64'], undefined, 0],
  [['data.size=32'], 90_000, 0],
  [['data={kind: latents, size: 64}'], 90_000, 0],
])('%j that takes %s seconds on a processor: the preset for it is named %i times', (overrides, secondsOnProcessor, times) => {
  const found = remarks(tinyConfig('/nowhere', ...overrides), { count: 6, secondsOnProcessor });
  expect(found.filter((remark) => remark.includes('--preset images-64-small'))).toHaveLength(times);
});
