import { describe, expect, test } from 'vitest';
import { type Features, features } from './features.js';
import { cmmd, kernelDistance, polynomialMmd } from './kernel-distance.js';
import { set } from './testing/sets.js';

describe('kernel distance', () => {
  test('equals the definition, and is near zero for one distribution', () => {
    const [a, b] = [set(12, 3, 1), set(9, 3, 2, 0.5)];
    const kernel = (x: Features, i: number, y: Features, j: number) =>
      (Array.from({ length: 3 }, (_, d) => x.data[i * 3 + d] * y.data[j * 3 + d]).reduce((s, v) => s + v) / 3 + 1) ** 3;
    let [xx, yy, xy] = [0, 0, 0];
    for (let i = 0; i < 12; i++) for (let j = 0; j < 12; j++) if (i !== j) xx += kernel(a, i, a, j) / 132;
    for (let i = 0; i < 9; i++) for (let j = 0; j < 9; j++) if (i !== j) yy += kernel(b, i, b, j) / 72;
    for (let i = 0; i < 12; i++) for (let j = 0; j < 9; j++) xy += kernel(a, i, b, j) / 108;
    expect(polynomialMmd(a, b)).toBeCloseTo(xx + yy - 2 * xy, 12);
    const { mean, perSubset } = kernelDistance(set(400, 3, 5), set(400, 3, 6), [
      { a: Array.from({ length: 300 }, (_, i) => i), b: Array.from({ length: 300 }, (_, i) => i + 50) },
    ]);
    expect(Math.abs(mean)).toBeLessThan(0.02);
    expect(perSubset).toHaveLength(1);
  });
});

describe('CMMD', () => {
  const embeddings = (count: number, seed: number, shift: number): Features => {
    const { data } = set(count, 6, seed, shift);
    for (let i = 0; i < count; i++) {
      const row = data.subarray(i * 6, (i + 1) * 6) as Float64Array;
      const length = Math.hypot(...row);
      row.forEach((v, d) => {
        row[d] = v / length;
      });
    }
    return features(data, 6);
  };

  test("is the reference's formula: 1000 times the biased MMD with exp(-gamma (|x|^2 - 2 x.y + |y|^2)), gamma 1 / 200", () => {
    const [x, y] = [embeddings(37, 1, 0), embeddings(29, 2, 0.4)];
    const dot = (a: Features, i: number, b: Features, j: number) =>
      Array.from({ length: 6 }, (_, d) => a.data[i * 6 + d] * b.data[j * 6 + d]).reduce((s, v) => s + v);
    const mean = (a: Features, b: Features) => {
      let sum = 0;
      for (let i = 0; i < a.count; i++)
        for (let j = 0; j < b.count; j++) sum += Math.exp(-(1 / (2 * 10 ** 2)) * (dot(a, i, a, i) - 2 * dot(a, i, b, j) + dot(b, j, b, j)));
      return sum / (a.count * b.count);
    };
    const wanted = 1000 * (mean(x, x) + mean(y, y) - 2 * mean(x, y));
    expect(wanted).toBeGreaterThan(0.1);
    expect(cmmd(x, y)).toBeCloseTo(wanted, 9);
    expect(cmmd(x, x)).toBeCloseTo(0, 9);
  });

  test('opposite points are as far apart as the kernel says', () => {
    const point = (v: number) => features(Float64Array.of(v, 0), 2);
    expect(cmmd(point(1), point(-1))).toBeCloseTo(1000 * (2 - 2 * Math.exp(-4 / 200)), 9);
  });
});
