import { describe, expect, test } from 'vitest';
import { features } from './features.js';
import { densityCoverage, precisionRecall } from './manifold.js';
import { set } from './testing/sets.js';

describe('manifold metrics', () => {
  const line = (values: number[]) => features(Float64Array.from(values), 1);
  test('mode collapse gives precision without recall, and the reverse', () => {
    const wide = line([0, 1, 2, 3, 100, 101, 102, 103]);
    const narrow = line([0.5, 1.5, 2.5, 1.2]);
    expect(precisionRecall(wide, narrow, 1)).toMatchObject({ precision: 1, recall: 0.5 });
    expect(precisionRecall(narrow, wide, 1)).toMatchObject({ precision: 0.5, recall: 1 });
  });
  test('radius 0 counts under <= and not under <', () => {
    const duplicates = line([1, 1, 1, 5]);
    expect(precisionRecall(duplicates, line([1, 1, 20, 20]), 1).precision).toBe(0.5);
    expect(densityCoverage(duplicates, line([1, 1, 20, 20]), 1).precision).toBe(0);
  });
  test('identical sets are covered fully', () => {
    const same = set(60, 4);
    expect(precisionRecall(same, same)).toMatchObject({ precision: 1, recall: 1 });
    expect(densityCoverage(same, same)).toMatchObject({ coverage: 1, recall: 1 });
  });
});
