import { expect, test } from 'vitest';
import type { Run } from '../run.js';
import { isDue, type Listener, tell } from './listener.js';

test.each<[Listener['every'], number, boolean, boolean]>([
  [5, 10, false, true],
  [5, 11, false, false],
  [5, 11, true, true],
  [[4, 6], 12, false, true],
  [[4, 6], 8, false, true],
  [[4, 6], 9, false, false],
])('every %j: at step %i, the last: %s, it is %s', (every, step, last, due) => {
  expect(isDue(every, step, last)).toBe(due);
});

const full = () => Promise.reject(Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' }));

function harness() {
  const messages: string[] = [];
  const stop = new AbortController();
  const called: string[] = [];
  const run = {
    ...{ out: 'runs/a', config: { steps: 100 }, record: { step: 3 }, signal: stop.signal },
    progress: { log: (message: string) => void messages.push(message) },
  } as unknown as Run;
  const listener = (name: string, given: Partial<Listener>): Listener => ({
    ...{ name, every: 1, fatal: false, run: async () => void called.push(name) },
    ...given,
  });
  return { messages, stop, called, run, listener, moment: { learningRate: 1, evaluation: {} } };
}

test('they are called in their order; what only people look at may fail to be written, all else may not', async () => {
  const { messages, called, run, listener, moment } = harness();
  await tell([listener('a', {}), listener('pictures', { run: full }), listener('late', { every: 2 }), listener('b', {})], run, moment);
  expect(called).toEqual(['a', 'b']);
  expect(messages).toEqual([expect.stringMatching(/^WARNING: no pictures for step 3: Cannot write runs\/a: no space/)]);
  await expect(tell([listener('a', { run: full, fatal: true }), listener('c', {})], run, moment)).rejects.toThrow('ENOSPC');
  const defect = () => Promise.reject(new TypeError('oh'));
  await expect(tell([listener('a', { run: defect }), listener('c', {})], run, moment)).rejects.toThrow('oh');
  expect(called).not.toContain('c');
});

test('one that the signal interrupts is left out, and the others have their turn', async () => {
  const { messages, stop, called, run, listener, moment } = harness();
  const interrupted = async () => {
    stop.abort();
    stop.signal.throwIfAborted();
  };
  await tell([listener('samples', { run: interrupted, fatal: true }), listener('checkpoint', { fatal: true })], run, moment);
  expect(called).toEqual(['checkpoint']);
  expect(messages).toEqual(['no samples for step 3: interrupted']);
});
