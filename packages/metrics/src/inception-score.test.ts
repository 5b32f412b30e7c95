import { describe, expect, test } from 'vitest';
import { MetricError } from './errors.js';
import { features } from './features.js';
import { inceptionScoreBySize, inceptionScoreBySplits } from './inception-score.js';
import { set } from './testing/sets.js';

describe('Inception Score', () => {
  test('is 1 for equal rows and the number of classes for certain, balanced rows', () => {
    expect(inceptionScoreBySplits(features(new Float64Array(40).fill(3), 4), 2).mean).toBeCloseTo(1, 12);
    const certain = features(
      Float64Array.from({ length: 40 * 4 }, (_, i) => (i % 4 === Math.floor(i / 4) % 4 ? 1000 : 0)),
      4,
    );
    expect(inceptionScoreBySize(certain, 20).mean).toBeCloseTo(4, 10);
    // Sorted by class every split sees one class only.
    const sorted = features(
      Float64Array.from({ length: 40 * 4 }, (_, i) => (i % 4 === Math.floor(i / 40) ? 1000 : 0)),
      4,
    );
    expect(inceptionScoreBySize(sorted, 10).mean).toBeCloseTo(1, 10);
  });
  test('refuses impossible splits', () => {
    expect(() => inceptionScoreBySplits(set(3, 2), 4)).toThrow(MetricError);
  });
});
