import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import { MetricError } from './errors.js';
import { features } from './features.js';
import { frechetDistance, frechetDistanceOf } from './frechet.js';
import { multiplyTransposed } from './linear-algebra/matrix.js';
import { momentsOf } from './moments.js';
import { diagonal, reflection, set } from './testing/sets.js';

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
