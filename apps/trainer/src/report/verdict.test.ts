import { expect, test } from 'vitest';
import type { MetricsLine } from '../training/metrics-log.js';
import { stateOf, verdict } from './verdict.js';

const line = (step: number, loss: number, more: object = {}): MetricsLine =>
  ({ step, loss, skipped: 0, routing: [], ...more }) as unknown as MetricsLine;
const held = (loss: number) => ({ validation: { loss, byTime: [loss] } });

test('a run is over, under way, or has ended without a word', () => {
  const lines = [line(10, 1), line(20, 0.5)];
  const now = 1_000_000;
  expect(stateOf({ steps: 20 }, lines, now, now)).toBe('finished');
  expect(stateOf({ steps: 30 }, lines, now - 6000, now)).toBe('running');
  expect(stateOf({ steps: 30 }, lines, undefined, now)).toBe('stopped after step 20; go on with --resume');
  expect(stateOf({ steps: 30 }, lines, now - 60_000, now)).toBe('ended without a word after step 20; go on with --resume');
});

test('says whether the loss falls, and what is wrong before that', () => {
  expect(verdict([])).toEqual([]);
  expect(verdict([line(1, 1)])).toEqual([]);
  expect(verdict([line(1, 1), line(2, 0.5)])).toEqual(['The training loss went from 1.00 to 0.500.']);
  expect(verdict([line(1, 0.5), line(2, 1)])).toEqual(['The training loss has not fallen: 0.500 at the beginning, 1.00 now.']);
  const layer = { deadExperts: [1, 4] };
  const lines = [line(1000, 1, held(0.9)), line(2000, 0.5, held(0.6)), line(3000, 0.3, { ...held(0.7), skipped: 2, routing: [layer] })];
  expect(verdict(lines)).toEqual([
    '2 steps were skipped for not being finite.',
    '2 experts were chosen by no token in the last line.',
    'The held-out loss has risen to 0.700 since step 2,000 (0.600): the set is being learnt by heart.',
    'The training loss went from 1.00 to 0.300.',
  ]);
  expect(verdict([line(1, 1, { skipped: 1, routing: [{ deadExperts: [0] }] })])).toEqual([
    '1 step was skipped for not being finite.',
    '1 expert was chosen by no token in the last line.',
  ]);
  expect(verdict(lines.slice(0, 2))[0]).toBe('The held-out loss is at its least, 0.600.');
});
