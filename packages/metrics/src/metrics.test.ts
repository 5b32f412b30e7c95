import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import {
  cmmd,
  densityCoverage,
  type Features,
  features,
  frechetDistance,
  frechetDistanceOf,
  inceptionScoreBySize,
  inceptionScoreBySplits,
  kernelDistance,
  MetricError,
  matrix,
  momentsOf,
  polynomialMmd,
  precisionRecall,
  StreamingMoments,
} from './index.js';
import { pivotedCholesky } from './linear-algebra/cholesky.js';
import { multiplyTransposed, transpose } from './linear-algebra/matrix.js';

/** Reproducible values in (-1, 1) without pattern (a linear congruential generator). */
function noise(length: number, seed = 1): Float64Array<ArrayBuffer> {
  let state = seed >>> 0;
  return Float64Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}
const set = (count: number, dimension: number, seed = 1, shift = 0): Features =>
  features(
    noise(count * dimension, seed).map((v) => v + shift),
    dimension,
  );
const diagonal = (values: number[]) =>
  matrix(
    values.length,
    values.length,
    Float64Array.from({ length: values.length ** 2 }, (_, i) => (i % (values.length + 1) === 0 ? values[i / (values.length + 1)] : 0)),
  );

/** `I - 2 u u^T` for a unit vector `u` without pattern. */
const reflection = (n: number, seed: number) => {
  const u = noise(n, seed);
  const norm = u.reduce((s, v) => s + v * v, 0);
  return matrix(
    n,
    n,
    Float64Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? 1 : 0) - (2 * u[Math.floor(i / n)] * u[i % n]) / norm),
  );
};

test('pivoted Cholesky finds the rank and gives the matrix back', () => {
  for (const rank of [0, 1, 5, 12]) {
    const x = matrix(12, rank, noise(12 * rank));
    const a = multiplyTransposed(x, x, { symmetric: true });
    const u = pivotedCholesky(a);
    expect(u.rows).toBe(rank);
    const columns = transpose(u);
    multiplyTransposed(columns, columns).data.forEach((v, i) => {
      expect(v).toBeCloseTo(a.data[i], 12);
    });
  }
});

describe('Frechet distance', () => {
  const gaussian = (mean: number[], variances: number[]) => ({ mean: Float64Array.from(mean), covariance: diagonal(variances) });

  test('closed forms: equal covariances, commuting covariances, one dimension', () => {
    expect(frechetDistance(gaussian([1, 2], [3, 4]), gaussian([2, 4], [3, 4])).distance).toBeCloseTo(5, 12);
    expect(frechetDistance(gaussian([0, 0], [4, 9]), gaussian([0, 0], [1, 16])).distance).toBeCloseTo(1 + 1, 12);
    expect(frechetDistance(gaussian([3], [4]), gaussian([0], [25])).distance).toBeCloseTo(9 + 9, 12);
  });

  test('rank-deficient covariances and fewer samples than dimensions', () => {
    const both = frechetDistance(gaussian([0, 0, 0], [4, 0, 0]), gaussian([0, 0, 0], [9, 1, 0]));
    expect(both).toMatchObject({ method: 'rank-deficient' });
    expect(both.distance).toBeCloseTo(1 + 1, 7);
    const few = momentsOf(set(5, 12));
    expect(frechetDistance(few, few).distance).toBeLessThan(1e-6);
    expect(frechetDistance(few, momentsOf(set(5, 12, 9))).distance).toBeGreaterThan(0.1);
    expect(frechetDistance(gaussian([1], [0]), gaussian([0], [4])).distance).toBeCloseTo(1 + 4, 12);
  });

  test('from features it is the same, and exact where the covariances are singular', () => {
    const [a, b] = [set(60, 7, 1), set(50, 7, 2, 0.3)];
    expect(frechetDistanceOf(a, b).distance).toBeCloseTo(frechetDistance(momentsOf(a), momentsOf(b)).distance, 10);
    const [few, others] = [set(5, 12), set(9, 12, 4)];
    expect(frechetDistanceOf(few, others)).toMatchObject({ method: 'features' });
    expect(frechetDistanceOf(few, others).distance).toBeCloseTo(frechetDistance(momentsOf(few), momentsOf(others)).distance, 5);
    expect(frechetDistanceOf(few, few).distance).toBeLessThan(1e-12);
    const moved = features(
      Float64Array.from(few.data, (v) => v + 2),
      12,
    );
    expect(frechetDistanceOf(few, moved).distance).toBeCloseTo(4 * 12, 11);
    expect(() => frechetDistanceOf(set(1, 3), set(1, 3))).toThrow(/at least 2 samples/);
  });

  /** Commuting covariances with condition numbers of 1e10, turned by one reflection; their distance is known in closed form. */
  function illConditioned(n: number) {
    const [d1, d2] = [1, 2].map((p) => Float64Array.from({ length: n }, (_, i) => p * 10 ** ((-10 * ((i * (p === 1 ? 7 : 11)) % n)) / n)));
    const h = reflection(n, 3);
    const turned = (d: Float64Array) => ({
      mean: new Float64Array(n),
      covariance: multiplyTransposed(multiplyTransposed(h, diagonal([...d])), h, { symmetric: true }),
    });
    return { a: turned(d1), b: turned(d2), distance: d1.reduce((s, v, i) => s + (Math.sqrt(v) - Math.sqrt(d2[i])) ** 2, 0) };
  }

  test('ill-conditioned covariances lose no digits to the square root', () => {
    const { a, b, distance } = illConditioned(66);
    for (const found of [frechetDistance(a, b), frechetDistance(b, a)]) {
      expect(found.method).toBe('cholesky');
      expect(Math.abs(found.distance - distance)).toBeLessThan(1e-9 * distance);
    }
  });

  test('bad statistics are refused', () => {
    expect(() => frechetDistance(gaussian([0], [1]), gaussian([0, 0], [1, 1]))).toThrow(/1 and 2 dimensions/);
    expect(() => frechetDistance(gaussian([Number.NaN], [1]), gaussian([0], [1]))).toThrow(MetricError);
    expect(() => momentsOf(set(1, 3))).toThrow(/at least 2 samples/);
  });

  describe('on the TensorFlow runtime', () => {
    beforeAll(async () => void (await useTensorFlow()));
    test('ill-conditioned covariances lose no digits there either', () => {
      const { a, b, distance } = illConditioned(260);
      for (const found of [frechetDistance(a, b), frechetDistance(b, a)]) {
        expect(found.method).toBe('cholesky');
        expect(Math.abs(found.distance - distance)).toBeLessThan(1e-9 * distance);
      }
    });

    test('large matrices give the same distance as the portable code, and nothing leaks', () => {
      const [a, b] = [momentsOf(set(600, 260, 1)), momentsOf(set(700, 260, 2, 0.1))];
      const before = tf.memory().numTensors;
      const onRuntime = frechetDistance(a, b);
      expect(tf.memory().numTensors).toBe(before);
      void tf.setBackend('cpu');
      const portable = frechetDistance(a, b);
      void tf.setBackend('tensorflow');
      expect(onRuntime.distance).toBeCloseTo(portable.distance, 9);
      expect(onRuntime.method).toBe('cholesky');
      const few = momentsOf(set(20, 260));
      expect(frechetDistance(few, few)).toMatchObject({ method: 'rank-deficient' });
      expect(frechetDistance(few, few).distance).toBeLessThan(1e-5);
    });
  });
});

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
