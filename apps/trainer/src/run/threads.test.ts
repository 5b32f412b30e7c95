import os from 'node:os';
import { expect, test, vi } from 'vitest';
import { resolveConfig } from '../config/resolve.js';
import { threadsOf } from './threads.js';

test('a run has a thread for each op where its model is small, or cores are few and each has a sample', () => {
  const cores = vi.spyOn(os, 'availableParallelism').mockReturnValue(2);
  const whole = { threads: 1, interOpThreads: 2 };
  expect(threadsOf(resolveConfig({ preset: 'digits', overrides: [] }))).toEqual(whole);
  const published = resolveConfig({ preset: 'repo-s-2-8e2a-256', data: 'latents', overrides: [] });
  expect(threadsOf(published)).toEqual(whole);
  expect(threadsOf({ ...published, batchSize: 64, accumulation: 64 })).toEqual({});
  cores.mockReturnValue(16);
  expect(threadsOf(published)).toEqual({});
  expect(threadsOf({ ...published, model: { ...published.model, hiddenSize: 96 } })).toEqual({ threads: 1, interOpThreads: 16 });
  // Two samples each for four cores: those of one machine of four are what counts, and a rank's own part of the batch.
  expect(threadsOf({ ...published, batchSize: 8 }, { size: 4, localSize: 4 })).toEqual({ threads: 4 });
  expect(threadsOf({ ...published, batchSize: 16 }, { size: 4, localSize: 4 })).toEqual({ threads: 1, interOpThreads: 4 });
  expect(threadsOf({ ...published, batchSize: 64 }, { size: 4 })).toEqual({});
  vi.restoreAllMocks();
});
