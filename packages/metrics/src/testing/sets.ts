/** Reproducible sets of features and matrices for tests. */
import { type Features, features } from '../features.js';
import { matrix } from '../linear-algebra/matrix.js';

/** Reproducible values in (-1, 1) without pattern (a linear congruential generator). */
export function noise(length: number, seed = 1): Float64Array<ArrayBuffer> {
  let state = seed >>> 0;
  return Float64Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}
export const set = (count: number, dimension: number, seed = 1, shift = 0): Features =>
  features(
    noise(count * dimension, seed).map((v) => v + shift),
    dimension,
  );
export const diagonal = (values: number[]) =>
  matrix(
    values.length,
    values.length,
    Float64Array.from({ length: values.length ** 2 }, (_, i) => (i % (values.length + 1) === 0 ? values[i / (values.length + 1)] : 0)),
  );

/** `I - 2 u u^T` for a unit vector `u` without pattern. */
export const reflection = (n: number, seed: number) => {
  const u = noise(n, seed);
  const norm = u.reduce((s, v) => s + v * v, 0);
  return matrix(
    n,
    n,
    Float64Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? 1 : 0) - (2 * u[Math.floor(i / n)] * u[i % n]) / norm),
  );
};
