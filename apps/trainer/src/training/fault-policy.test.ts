import { describe, expect, test } from 'vitest';
import { afterRollBack, afterStep } from './fault-policy.js';
import { newRecord, type RunRecord, spikeLimit } from './run-record.js';
import type { StepReport } from './state.js';

const settings = { batchSize: 4, faults: { rollBackAfter: 3, skipBatches: 2, maxRollBacks: 1 } };
const record = (given: Partial<RunRecord> = {}): RunRecord => Object.freeze({ ...newRecord(), ...given });
const report = (outcome: StepReport['outcome'], gradNorm = 1): StepReport => ({
  ...{ loss: 2, balance: 3, routerLosses: { z: 4 }, distillation: {}, gradNorm, outcome, stop: false, transferMs: 0, computeMs: 0 },
});

describe('after a step', () => {
  test.each<[string, Partial<RunRecord>, StepReport, Partial<RunRecord>, string]>([
    [
      'that was applied: counted, in the window, and the row of bad ones ends',
      {
        step: 6,
        position: 24,
        badInARow: 2,
        skipped: 2,
        window: { steps: 1, loss: 5, balance: 1, routerLosses: { z: 1 }, gradNorm: 2 },
        norms: [2],
      },
      report('applied'),
      {
        step: 7,
        position: 28,
        badInARow: 0,
        skipped: 2,
        window: { steps: 2, loss: 7, balance: 4, routerLosses: { z: 5 }, distillation: {}, gradNorm: 3 },
        norms: [2, 1],
      },
      'go on',
    ],
    [
      'that is not finite: skipped, its norm not remembered',
      { step: 6, norms: [2] },
      report('not finite', Number.NaN),
      { step: 7, position: 4, badInARow: 1, skipped: 1, norms: [2], window: newRecord().window },
      'go on',
    ],
    ['with a finite norm and an infinite loss: the norm is remembered', {}, report('not finite', 9), { badInARow: 1, norms: [9] }, 'go on'],
    [
      'that is a spike: skipped, but no bad one in a row',
      { badInARow: 2 },
      report('spike', 50),
      { badInARow: 0, skipped: 1, norms: [50] },
      'go on',
    ],
    [
      'that is the last bad one in a row that is borne',
      { badInARow: 2, skipped: 2 },
      report('not finite'),
      { badInARow: 3, skipped: 3 },
      'roll back',
    ],
    ['the same after all roll-backs', { badInARow: 2, rollBacks: 1 }, report('not finite'), { badInARow: 3, rollBacks: 1 }, 'give up'],
  ])('%s', (_, before, given, after, verdict) => {
    const result = afterStep(record(before), given, settings);
    expect(result.verdict).toBe(verdict);
    expect(result.record).toMatchObject(after);
  });
});

describe('after going back', () => {
  const broken = record({ step: 9, position: 40, skipped: 3, badInARow: 3, norms: [7] });
  test.each<[string, RunRecord | undefined, Partial<RunRecord>]>([
    ['to a checkpoint', record({ step: 4, position: 16, norms: [1] }), { step: 4, norms: [1] }],
    ['without one', undefined, { step: 9, norms: [7] }],
  ])('%s: the batches that broke and those after them are passed over, and counts stay', (_, restored, kept) => {
    expect(afterRollBack(broken, restored, settings)).toEqual({
      ...(restored ?? broken),
      ...kept,
      ...{ position: 40 + 2 * 4, rollBacks: 1, skipped: 3, badInARow: 0 },
    });
  });
});

test('a spike is measured against the median of recent norms, once there are enough of them', () => {
  const norms = Array.from({ length: 16 }, (_, i) => i + 1);
  expect(spikeLimit(record({ norms }), 10)).toBe(90);
  expect(spikeLimit(record({ norms: norms.slice(1) }), 10)).toBe(Number.POSITIVE_INFINITY);
  expect(spikeLimit(record({ norms }), undefined)).toBe(Number.POSITIVE_INFINITY);
});
