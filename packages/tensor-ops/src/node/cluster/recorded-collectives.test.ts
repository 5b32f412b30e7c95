import { expect, test } from 'vitest';
import { type RecordedCollective, recordingDifference } from './recorded-collectives.js';

const one: RecordedCollective = { group: 100, size: 2, instance: 100, what: 'sum of float32 [4]' };
const two: RecordedCollective = { ...one, instance: 101, what: 'gather of float32 [2]' };
const difference = (...ranks: RecordedCollective[][]) => recordingDifference(ranks.map((collectives) => ({ name: 'step', collectives })));

test('ranks that recorded the same may run it', () => {
  expect(difference([one, two], [one, two])).toBe('');
});

test('groups may exchange other shapes, and a group of one sends nothing', () => {
  const of = (group: number, size: number, what: string): RecordedCollective[] => [{ ...one, group, size, what }];
  expect(difference(of(1, 2, 'a'), of(2, 1, 'b'), of(1, 2, 'a'))).toBe('');
});

test.each([
  [
    'shape',
    [{ ...one, what: 'sum of float32 [5]' }, two],
    'collective 1 of the step "step" is sum of float32 [4] on rank 0 and sum of float32 [5] on rank 1',
  ],
  [
    'order',
    [
      { ...one, what: two.what },
      { ...two, what: one.what },
    ],
    'collective 1 of the step "step" is sum of float32 [4] on rank 0 and gather of float32 [2] on rank 1',
  ],
  ['number of collectives', [one], 'the step "step" has 2 collectives on rank 0 and 1 on rank 1'],
  [
    'number, since it ran another one before',
    [{ ...one, instance: 107 }, two],
    'collective 1 of the step "step" is number 100 on rank 0 and 107 on rank 1',
  ],
  ['group', [{ ...one, group: 101 }, two], 'collective 1 of the step "step" is in a group of rank 0 that other ranks count differently'],
])('another %s is named, with the rank', (_, other, said) => {
  expect(difference([one, two], other as RecordedCollective[])).toBe(said);
});

test('another step is named', () => {
  const steps = ['train', 'train', 'validate'].map((name) => ({ name, collectives: [one] }));
  expect(recordingDifference(steps)).toBe('the step is "train" on rank 0 and "validate" on rank 2');
});
