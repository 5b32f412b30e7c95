import { randomNormal } from '@dit-moe/tensor-ops';
import { expect, test } from 'vitest';
import { type Matrix, matrix, multiplyTransposed } from './matrix.js';
import { symmetricEigenvalues } from './symmetric-eigenvalues.js';

const noise = (rows: number, columns: number): Matrix =>
  matrix(rows, columns, Float64Array.from(randomNormal({ seed: 3, purpose: 'eigenvalues', index: 0 }, rows * columns)));
const square = (n: number, entry: (i: number, j: number) => number) =>
  matrix(
    n,
    n,
    Float64Array.from({ length: n * n }, (_, at) => entry(Math.floor(at / n), at % n)),
  );
const close = (a: Matrix, expected: number[], digits = 12) => {
  const found = [...symmetricEigenvalues(a)].sort((x, y) => x - y);
  expect(found.length).toBe(expected.length);
  expected.sort((x, y) => x - y);
  for (const [i, value] of found.entries()) expect(value).toBeCloseTo(expected[i], digits);
};

test.each([0, 1, 2, 3, 17, 64])('a matrix of differences of size %i, whose eigenvalues are known', (n) => {
  close(
    square(n, (i, j) => (i === j ? 2 : Math.abs(i - j) === 1 ? -1 : 0)),
    Array.from({ length: n }, (_, k) => 4 * Math.sin(((k + 1) * Math.PI) / (2 * n + 2)) ** 2),
  );
});

test('a full matrix with known eigenvalues, some equal, some zero, some negative', () => {
  const values = [7, 7, 7, 0, 0, -3, 1e-9, 2, 5, -8];
  const n = values.length;
  const u = noise(n, 1).data;
  const norm = u.reduce((s, v) => s + v * v, 0);
  const reflection = square(n, (i, j) => (i === j ? 1 : 0) - (2 * u[i] * u[j]) / norm);
  const scaled = square(n, (i, j) => reflection.data[i * n + j] * values[j]);
  close(multiplyTransposed(scaled, reflection, { symmetric: true }), values, 13);
});

test('their sum and the sum of their squares are those of the entries', () => {
  const x = noise(150, 80);
  const a = multiplyTransposed(x, x, { symmetric: true });
  const values = symmetricEigenvalues(a);
  const trace = x.data.reduce((s, v) => s + v * v, 0);
  const squares = a.data.reduce((s, v) => s + v * v, 0);
  expect(Math.abs(values.reduce((s, v) => s + v, 0) - trace)).toBeLessThan(1e-12 * trace);
  expect(Math.abs(values.reduce((s, v) => s + v * v, 0) - squares)).toBeLessThan(1e-12 * squares);
  // 80 columns: as many eigenvalues of some size.
  expect(values.filter((v) => Math.abs(v) > 1e-10).length).toBe(80);
});

test('a matrix that is not finite is refused', () => {
  for (const n of [1, 2, 30]) expect(() => symmetricEigenvalues(square(n, () => Number.NaN))).toThrow(/finite entries/);
});
