import os from 'node:os';
import { afterEach, expect, test, vi } from 'vitest';
import { threadsFor } from './threads.js';

afterEach(() => vi.restoreAllMocks());

test('narrow models have a thread for each op, wider ones the default', () => {
  vi.spyOn(os, 'availableParallelism').mockReturnValue(8);
  expect(threadsFor({ hiddenSize: 255 })).toEqual({ threads: 1, interOpThreads: 8 });
  expect(threadsFor({ hiddenSize: 256 })).toBeUndefined();
  expect(threadsFor({ hiddenSize: 256 }, { training: true })).toBeUndefined();
});

test('on few cores wide ones do, too, in training and in int8', () => {
  vi.spyOn(os, 'availableParallelism').mockReturnValue(4);
  expect(threadsFor({ hiddenSize: 256 })).toBeUndefined();
  for (const use of [{ training: true }, { precision: 'int8' }] as const)
    expect(threadsFor({ hiddenSize: 256 }, use)).toEqual({ threads: 1, interOpThreads: 4 });
});
