import { expect, test } from 'vitest';
import type { Frame, Run } from './frames.js';
import { duration, shareDone } from './progress-bar.js';

const run = (step?: number, finished = false): Run =>
  ({
    request: {},
    frames: step === undefined ? [] : [{ step, steps: 4 } as Frame],
    ...(finished && { images: ['blob:x'] }),
  }) as unknown as Run;

test('the share of the work counts steps and finished runs', () => {
  expect(shareDone([])).toBe(0);
  expect(shareDone([run()])).toBe(0);
  expect(shareDone([run(4, true), run(2), run()])).toBe(0.5);
  expect(shareDone([run(4, true), run(4, true)])).toBe(1);
});

test('durations', () => {
  expect([0.2, 59, 61, 600].map(duration)).toEqual(['1 s', '59 s', '1 min 1 s', '10 min 0 s']);
});
