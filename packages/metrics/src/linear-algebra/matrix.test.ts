import { randomNormal } from '@dit-moe/tensor-ops';
import { expect, test } from 'vitest';
import { type Matrix, matrix, multiplyTransposed, transpose } from './matrix.js';

const noise = (rows: number, columns: number, index: number): Matrix =>
  matrix(rows, columns, Float64Array.from(randomNormal({ seed: 3, purpose: 'matrix', index }, rows * columns)));

const byDefinition = (a: Matrix, b: Matrix): Matrix =>
  matrix(
    a.rows,
    b.columns,
    Float64Array.from({ length: a.rows * b.columns }, (_, at) => {
      const [i, j] = [Math.floor(at / b.columns), at % b.columns];
      let sum = 0;
      for (let k = 0; k < a.columns; k++) sum += a.data[i * a.columns + k] * b.data[k * b.columns + j];
      return sum;
    }),
  );

const expectSame = (actual: Matrix, expected: Matrix): void => {
  expect([actual.rows, actual.columns]).toEqual([expected.rows, expected.columns]);
  expect(actual.data).toBeCloseTensor(expected.data, 1e-11);
};

// One tile, parts of tiles, and more than one part of the inner dimension and of the columns.
test.each([
  [3, 3, 3],
  [1, 1, 1],
  [7, 5, 2],
  [20, 391, 130],
  [4, 260, 257],
])('products of %i x %i with an inner dimension of %i', (m, n, inner) => {
  const [a, b] = [noise(m, inner, 0), noise(inner, n, 1)];
  expectSame(multiplyTransposed(a, transpose(b)), byDefinition(a, b));
});

test('a symmetric product and one of a triangular operand leave nothing out', () => {
  const n = 400;
  const x = noise(n, n, 2);
  const upper = matrix(
    n,
    n,
    x.data.map((value, at) => (at % n < Math.floor(at / n) ? 0 : value)),
  );
  expectSame(multiplyTransposed(x, x, { symmetric: true }), byDefinition(x, transpose(x)));
  expectSame(multiplyTransposed(upper, x, { upper: true }), byDefinition(upper, transpose(x)));
  expectSame(multiplyTransposed(upper, upper, { upper: true, symmetric: true }), byDefinition(upper, transpose(upper)));
});
