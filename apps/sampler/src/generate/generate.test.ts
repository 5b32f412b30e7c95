import { describe, expect, test } from 'vitest';
import { tinyCard } from '../../../../packages/pipeline/src/testing/tiny-model.js';
import { labelsOf, parseLabelList } from './labels.js';

describe('labels', () => {
  test('depend on the number only, and cover the classes as their policy says', () => {
    for (const policy of ['uniform', 'balanced'] as const) {
      const all = labelsOf(policy, 5, 10, 0, 3000);
      expect([...labelsOf(policy, 5, 10, 0, 1234), ...labelsOf(policy, 5, 10, 1234, 3000)]).toEqual(all);
      const counts = Array.from({ length: 10 }, (_, label) => all.filter((l) => l === label).length);
      // Uniform: six standard deviations of a binomial count.
      for (const n of counts) expect(Math.abs(n - 300)).toBeLessThanOrEqual(policy === 'balanced' ? 0 : 6 * Math.sqrt(270));
    }
    expect(labelsOf('uniform', 6, 10, 0, 50)).not.toEqual(labelsOf('uniform', 5, 10, 0, 50));
  });

  test('come from a list of names or numbers', () => {
    expect(parseLabelList('ant, 2\nbee\n', tinyCard.classNames, 3)).toEqual([0, 2, 1]);
    expect(() => parseLabelList('ant dog', tinyCard.classNames, 2)).toThrow(/entry 2: there is no class "dog"/);
    expect(() => parseLabelList('0 2', ['2', 'x', 'y'], 2)).toThrow(/entry 2: "2" is the name of class number 0, and the number/);
    expect(() => parseLabelList('ant', tinyCard.classNames, 2)).toThrow(/1 labels for 2 images/);
  });
});
