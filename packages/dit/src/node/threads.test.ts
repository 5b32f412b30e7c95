import os from 'node:os';
import { expect, test } from 'vitest';
import { threadsFor } from './threads.js';

test('narrow models have a thread for each op, wider ones the default', () => {
  expect(threadsFor({ hiddenSize: 255 })).toEqual({ threads: 1, interOpThreads: os.availableParallelism() });
  expect(threadsFor({ hiddenSize: 256 })).toBeUndefined();
});
