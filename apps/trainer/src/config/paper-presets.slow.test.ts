import fs from 'node:fs';
import { describeModel } from '@dit-moe/dit';
import { startBackend } from '@dit-moe/tensor-ops/node';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeRoot, metricsLines, runTiny } from '../testing/tiny-run.js';
import { paperPresets } from './paper-presets.js';
import { modelConfig, resolveConfig } from './resolve.js';

const { root, newRun } = makeRoot();
beforeAll(async () => void (await startBackend('tensorflow')));
afterAll(() => fs.rmSync(root, { recursive: true }));

const names = Object.keys(paperPresets({ model: {} }));
const onDigits = names.filter((name) => name.startsWith('digits-'));

test('every paper has a form on the digits', () => {
  expect(onDigits.map((name) => name.replace('digits-', ''))).toEqual(names.filter((name) => !onDigits.includes(name)));
});

test.each(names.filter((name) => !onDigits.includes(name)))('%s describes a model of its size', (name) => {
  const latents = { channels: 4, height: 32, width: 32, classNames: Array.from({ length: 1000 }, (_, i) => String(i)) };
  const { parameters, gmac } = describeModel(modelConfig(resolveConfig({ preset: name }), latents));
  expect(parameters.total).toBeGreaterThan(parameters.active);
  const dense = describeModel(modelConfig(resolveConfig({ preset: name, overrides: ['model.dense=matched'] }), latents));
  expect(dense.gmac.linear / gmac.linear).toBeCloseTo(1, 2);
});

test('jit describes the published size', () => {
  const pixels = { channels: 3, height: 256, width: 256, classNames: Array.from({ length: 1000 }, (_, i) => String(i)) };
  // 131 M parameters and 25 G in its paper.
  const { parameters, tokens, gmac } = describeModel(modelConfig(resolveConfig({ preset: 'jit' }), pixels));
  expect([tokens, Math.round(parameters.total / 1e6), Math.round(gmac.total)]).toEqual([256, 131, 25]);
});

test.each([...onDigits, 'digits-jit'])('%s trains', async (preset) => {
  const out = newRun();
  await runTiny(resolveConfig({ preset, overrides: ['steps=2', 'batchSize=8', 'logEvery=1', 'sampling={every: 100, steps: 1}'] }), out);
  for (const { loss, routing } of metricsLines(out)) {
    expect(Number.isFinite(loss)).toBe(true);
    expect(routing.length > 0).toBe(preset !== 'digits-jit');
  }
});
