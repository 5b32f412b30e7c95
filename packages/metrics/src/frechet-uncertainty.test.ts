import { randomNormal } from '@dit-moe/tensor-ops';
import { describe, expect, test } from 'vitest';
import { features, frechetDistanceOf, frechetInfinity, frechetInterval, MetricError, momentsOf, selectRows } from './index.js';

const gaussian = (count: number, dimension: number, seed: number, shift = 0) =>
  features(
    randomNormal({ seed, purpose: 'test', index: 0 }, count * dimension).map((v) => v + shift),
    dimension,
  );
const reference = gaussian(20_000, 12, 1);

describe('FD-infinity', () => {
  test('takes away the bias of few samples, which falls as 1 / N', () => {
    const samples = gaussian(1500, 12, 2, 0.05);
    const truth = 12 * 0.05 ** 2; // equal covariances: the squared distance of the means
    const { distance, slope, rSquared, points } = frechetInfinity(samples, momentsOf(reference));
    expect(points.map((p) => p.count)).toEqual(expect.arrayContaining([150, 1500]));
    expect(points.at(-1)!.distance).toBeGreaterThan(1.4 * truth);
    expect(Math.abs(distance - truth)).toBeLessThan(0.4 * Math.abs(points.at(-1)!.distance - truth));
    expect(slope).toBeGreaterThan(0);
    expect(rSquared).toBeGreaterThan(0.9);
  });
  test('statistics and features as reference agree', () => {
    const samples = gaussian(300, 12, 3);
    const from = (r: Parameters<typeof frechetInfinity>[1]) => frechetInfinity(samples, r, { sizes: 3 }).distance;
    expect(from(reference)).toBeCloseTo(from(momentsOf(reference)), 10);
  });
  test('too few samples are refused', () => {
    expect(() => frechetInfinity(gaussian(10, 3, 1), reference)).toThrow(MetricError);
  });
});

describe('bootstrap interval', () => {
  test('its standard error is that of drawing samples anew', () => {
    const pool = gaussian(40 * 400, 12, 4, 0.1);
    const anew = Float64Array.from({ length: 40 }, (_, i) => {
      const rows = Array.from({ length: 400 }, (_, j) => i * 400 + j);
      return frechetDistanceOf(selectRows(pool, rows), reference).distance;
    });
    const mean = anew.reduce((a, b) => a + b) / 40;
    const deviation = Math.sqrt(anew.reduce((s, v) => s + (v - mean) ** 2, 0) / 39);
    const interval = frechetInterval(gaussian(400, 12, 5, 0.1), momentsOf(reference));
    expect(interval.standardError / deviation).toBeGreaterThan(0.6);
    expect(interval.standardError / deviation).toBeLessThan(1.6);
    expect(interval.low).toBeLessThan(interval.value);
    expect(interval.high).toBeGreaterThan(interval.value);
    expect(interval.high - interval.low).toBeCloseTo(2 * 1.96 * interval.standardError, 1);
  });
});
