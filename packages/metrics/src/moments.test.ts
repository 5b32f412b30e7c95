import { describe, expect, test } from 'vitest';
import { features } from './features.js';
import { momentsOf, StreamingMoments } from './moments.js';
import { noise, set } from './testing/sets.js';

describe('streaming moments', () => {
  test('any number of workers and any order of merging gives the same result to 1e-12, also with a large mean', () => {
    const [count, dimension, offset] = [3000, 7, 1000];
    const all = set(count, dimension, 3, offset);
    const whole = momentsOf(all);
    for (let run = 0; run < 6; run++) {
      // Workers of very unequal size; some have nothing.
      const cuts = [0, ...Array.from(noise(11, run + 9), (v) => Math.floor(((v + 1) / 2) ** 3 * count)).sort((a, b) => a - b), count];
      const workers = cuts.slice(1).map((to, i) => {
        const worker = new StreamingMoments(dimension);
        worker.add(features(all.data.slice(cuts[i] * dimension, to * dimension) as Float64Array, dimension));
        return worker;
      });
      const order = [...workers.keys()].sort((a, b) => noise(20, run)[a] - noise(20, run)[b]);
      const merged = new StreamingMoments(dimension);
      for (const i of order) merged.merge(workers[i]);
      const result = merged.moments();
      expect(result.count).toBe(count);
      result.mean.forEach((m, i) => {
        expect(Math.abs(m - whole.mean[i])).toBeLessThan(1e-12 * offset);
      });
      result.covariance.data.forEach((c, i) => {
        expect(Math.abs(c - whole.covariance.data[i])).toBeLessThan(1e-12);
      });
    }
  });

  test('values that are not finite are refused with their place', () => {
    const bad = set(10, 3);
    bad.data[17] = Number.POSITIVE_INFINITY;
    expect(() => momentsOf(bad)).toThrow(/dimension 2 is not finite/);
  });
});
