import { randomNormal } from '@dit-moe/tensor-ops';
import { expect, test } from 'vitest';
import { type Matrix, matrix, multiplyTransposed, transpose } from './matrix.js';
import { singularValues } from './singular-values.js';

const noise = (rows: number, columns: number): Matrix =>
  matrix(rows, columns, Float64Array.from(randomNormal({ seed: 3, purpose: 'singular values', index: 0 }, rows * columns)));
const square = (n: number, entry: (i: number, j: number) => number) =>
  matrix(
    n,
    n,
    Float64Array.from({ length: n * n }, (_, at) => entry(Math.floor(at / n), at % n)),
  );
const close = (a: Matrix, expected: number[], digits = 13) => {
  const found = [...singularValues(a)].sort((x, y) => x - y);
  expect(found.length).toBe(expected.length);
  expected.sort((x, y) => x - y);
  for (const [i, value] of found.entries()) expect(value).toBeCloseTo(expected[i], digits);
};

test.each([0, 1, 2, 3, 17, 64])('a matrix of differences of size %i, whose singular values are known', (n) => {
  close(
    square(n, (i, j) => (i === j ? 2 : Math.abs(i - j) === 1 ? -1 : 0)),
    Array.from({ length: n }, (_, k) => 4 * Math.sin(((k + 1) * Math.PI) / (2 * n + 2)) ** 2),
  );
});

/** `I - 2 u u^T` for a unit vector `u` without pattern. */
const reflection = (n: number) => {
  const u = noise(n, 1).data;
  const norm = u.reduce((s, v) => s + v * v, 0);
  return square(n, (i, j) => (i === j ? 1 : 0) - (2 * u[i] * u[j]) / norm);
};

test('some equal, some zero, some tiny, kept by reflections from both sides, whichever side is longer', () => {
  const values = [7, 7, 7, 0, 0, 3, 1e-9, 2, 5, 8];
  const [rows, columns] = [values.length, 14];
  const wide = matrix(rows, columns);
  for (const [i, value] of values.entries()) wide.data[i * columns + i] = value;
  const turned = multiplyTransposed(multiplyTransposed(reflection(rows), transpose(wide)), reflection(columns));
  for (const x of [wide, turned, transpose(turned)]) close(x, values);
});

test('the sum of their squares is that of the entries', () => {
  const x = noise(80, 150);
  const squares = x.data.reduce((s, v) => s + v * v, 0);
  expect(Math.abs(singularValues(x).reduce((s, v) => s + v * v, 0) - squares)).toBeLessThan(1e-12 * squares);
  // Of rank 80: as many of some size.
  const product = singularValues(multiplyTransposed(transpose(x), transpose(x)));
  expect(product.length).toBe(150);
  expect(product.filter((value) => value > 1e-10).length).toBe(80);
});

test('a matrix that is not finite is refused', () => {
  for (const n of [1, 2, 30]) expect(() => singularValues(square(n, () => Number.NaN))).toThrow(/finite entries/);
});
