import os from 'node:os';
import { expect, test } from 'vitest';
import { resolveConfig } from '../config/resolve.js';
import { threadsOf } from './threads.js';

test('small models have a thread for each op, larger ones the default, by preset or by width', () => {
  const shared = { threads: 1, interOpThreads: os.availableParallelism() };
  expect(threadsOf(resolveConfig({ preset: 'digits', overrides: [] }))).toEqual(shared);
  expect(threadsOf(resolveConfig({ preset: 'digits', overrides: ['model.hiddenSize=256'] }))).toBeUndefined();
  const published = resolveConfig({ preset: 'repo-s-2-8e2a-256', data: 'latents', overrides: [] });
  expect(threadsOf(published)).toBeUndefined();
  expect(threadsOf({ ...published, model: { ...published.model, hiddenSize: 96 } })).toEqual(shared);
});
