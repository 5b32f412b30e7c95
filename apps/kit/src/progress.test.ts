import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { createProgress } from './progress.js';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllEnvs();
});

function start(isTTY: boolean, columns?: number) {
  let text = '';
  const progress = createProgress({ isTTY, ...(columns !== undefined && { columns }), write: (part) => (text += part) });
  const seconds = (n: number): unknown => vi.advanceTimersByTime(1000 * n);
  return { progress, seconds, written: () => text };
}

test('in a pipe: whole lines, at once, then every second, and rarely after a minute', () => {
  const { progress, seconds, written } = start(false);
  const lines = (): string[] => written().split('\n').slice(0, -1);
  const at = (done: number): void => progress.update({ what: 'step', done, total: 400, details: [`loss ${(1 / done).toFixed(4)}`] });
  at(10);
  expect(lines()).toEqual(['step 10/400  loss 0.1000']);
  for (let i = 0; i < 4; i++) {
    seconds(0.5);
    at(11 + i);
  }
  expect(lines().slice(1)).toEqual(['step 11/400  loss 0.0909  6 min 29 s left', 'step 13/400  loss 0.0769  4 min 18 s left']);
  for (let i = 15; i < 400; i++) {
    seconds(0.5);
    at(i);
  }
  const late = lines().length;
  expect(late).toBeGreaterThan(60);
  expect(late).toBeLessThan(60 + 20);
  at(400);
  expect(lines().at(-1)).toBe('step 400/400  loss 0.0025  0 s left');
  expect(written()).not.toContain('\x1b');
  progress.done();
});

test('shows life while nothing is reported', () => {
  const { progress, seconds, written } = start(false);
  progress.phase('reading the images');
  seconds(3);
  progress.update({ what: 'image', done: 0, total: 8 });
  seconds(2);
  progress.done();
  seconds(5);
  expect(written().split('\n')).toEqual([
    'reading the images ...',
    'reading the images ...  1 s',
    'reading the images ...  2 s',
    'reading the images ...  3 s',
    'image 0/8',
    'image 0/8  1 s so far',
    'image 0/8  2 s so far',
    '',
  ]);
});

test('the time left includes phases between the steps; what is counted anew begins anew', () => {
  const { progress, seconds, written } = start(false);
  progress.update({ what: 'step', done: 10, total: 40 });
  seconds(10);
  progress.phase('samples');
  seconds(10);
  progress.update({ what: 'step', done: 20, total: 40 });
  seconds(1);
  progress.update({ what: 'step', done: 5, total: 40 });
  progress.done();
  expect(written()).toContain('step 20/40  42 s left\n');
  expect(written()).toMatch(/step 5\/40\n$/);
});

test('on a terminal: one line with a bar, never wider than the terminal, and messages above it', () => {
  vi.stubEnv('TERM', 'xterm');
  const { progress, seconds, written } = start(true, 40);
  progress.update({ what: 'step', done: 1, total: 2, details: ['a detail that is longer than the line'] });
  seconds(0.05);
  progress.update({ what: 'step', done: 1, total: 2, details: ['too soon to be drawn'] });
  progress.log('a message');
  progress.done();
  const drawn = written().split('\r\x1b[K');
  // biome-ignore lint/suspicious/noControlCharactersInRegex: colours are control sequences
  const visible = drawn[1].replace(/\x1b\[[\d;]*m/g, '');
  expect(visible).toMatch(/^━{12}─{12} step 1\/2 {2}a/);
  expect(visible).toHaveLength(39);
  expect(drawn[2]).toBe('a message\n');
  expect(written().endsWith('\n')).toBe(true);
});
