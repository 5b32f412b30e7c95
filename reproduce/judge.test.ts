import { describe, expect, test } from 'vitest';
import type { RunResult } from '../apps/trainer/src/study/results.js';
import type { Order } from './claims.js';
import { deviationOfChance, judgeClaim, judgeOrder } from './judge.js';

const run = (arm: string, seed: number, loss: number, more: Partial<RunResult> = {}): RunResult => ({
  ...{ arm, seed, loss, byTime: [loss], trainingLoss: loss, parameters: 1, activeParameters: 1, gmac: 1, seconds: 1 },
  ...more,
});
/** The mixture three times: its losses deviate by 0.01. */
const mixture = [run('mixture', 0, 0.5), run('mixture', 1, 0.51), run('mixture', 2, 0.52)];
const order: Order = { better: 'mixture', worse: 'dense', by: 'loss' };

test('chance is the deviation of a difference of two trainings that differ in their seed', () => {
  expect(deviationOfChance(mixture)).toBeCloseTo(0.01 * Math.SQRT2, 12);
  expect(deviationOfChance(mixture.slice(0, 1))).toBeUndefined();
});

describe('a difference of losses', () => {
  // One pair must exceed 2 * 0.0141 = 0.0283, three must exceed 0.0163 on average.
  test.each([
    ['as expected', [0.54], 1],
    ['no difference seen', [0.52], 1],
    ['the other way round', [0.46], 1],
    ['as expected', [0.52, 0.53, 0.54], 3],
    ['no difference seen', [0.51, 0.52, 0.53], 3],
  ])('is %s for %j', (says, losses, pairs) => {
    const dense = losses.map((loss, seed) => run('dense', seed, loss));
    const verdict = judgeOrder(order, [0, 1, 2], [...mixture, ...dense]);
    expect(verdict.says).toBe(says);
    expect(verdict.seeds).toHaveLength(pairs);
    expect(verdict.needed).toBeCloseTo((2 * 0.01 * Math.SQRT2) / Math.sqrt(pairs), 12);
  });

  test('is not judged without a pair, or before chance is known', () => {
    expect(judgeOrder(order, [0], mixture).says).toBe('not run yet');
    expect(judgeOrder(order, [0], [mixture[0], run('dense', 0, 9)]).says).toBe('not run yet');
  });
});

test('loads compare by ratio, samples by the share that is told right', () => {
  const even = run('mixture', 0, 1, { loadVariation: 0.1, evaluation: { 'online/accuracy_n500': 0.7 } });
  const uneven = run('dense', 0, 1, { loadVariation: 0.25, evaluation: { 'online/accuracy_n500': 0.6 } });
  for (const by of ['loadVariation', 'accuracy'] as const) {
    expect(judgeOrder({ ...order, by }, [0], [even, uneven]).says).toBe('as expected');
    expect(judgeOrder({ better: 'dense', worse: 'mixture', by }, [0], [even, uneven]).says).toBe('the other way round');
  }
  expect(judgeOrder({ ...order, by: 'loadVariation' }, [0], [even, { ...uneven, loadVariation: 0.15 }]).says).toBe('no difference seen');
});

test('a claim holds if all its orders do, and is open until all have been run', () => {
  const claim = {
    ...{ id: 'x', title: '', source: '', arms: [], seeds: [0] },
    expected: [order, { better: 'mixture', worse: 'other', by: 'loss' } as const],
  };
  const [better, worse] = [run('dense', 0, 0.6), run('other', 0, 0.4)];
  expect(judgeClaim(claim, [...mixture, better]).holds).toBeUndefined();
  expect(judgeClaim(claim, [...mixture, better, run('other', 0, 0.6)]).holds).toBe(true);
  expect(judgeClaim(claim, [...mixture, worse]).holds).toBeUndefined();
  expect(judgeClaim(claim, [...mixture, better, worse]).holds).toBe(false);
  expect(judgeClaim({ ...claim, seeds: [0, 1] }, [...mixture, better, worse]).holds).toBeUndefined();
});
