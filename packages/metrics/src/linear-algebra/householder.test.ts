import { randomNormal } from '@dit-moe/tensor-ops';
import { expect, test } from 'vitest';
import { orthogonalize } from './householder.js';
import { matrix, multiply } from './matrix.js';

const largest = (values: Float64Array): number => values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);

test.each([
  [1, 1, 1],
  [9, 4, 4],
  [50, 7, 7],
  [50, 7, 3], // columns that depend on others
  [6, 6, 0], // of zeros
])('%i x %i of rank %i: orthonormal columns times an upper triangle', (rows, columns, rank) => {
  const noise = (m: number, n: number, index: number) =>
    matrix(m, n, Float64Array.from(randomNormal({ seed: 5, purpose: 'qr', index }, m * n)));
  const a = multiply(noise(rows, rank, 0), noise(rank, columns, 1));
  const { q, r } = orthogonalize(a);
  const product = multiply(q, r);
  expect(largest(product.data.map((value, i) => value - a.data[i]))).toBeLessThan(1e-13 * rows);
  const gram = multiply(q, q, { a: true });
  expect(largest(gram.data.map((value, i) => value - (i % (columns + 1) === 0 ? 1 : 0)))).toBeLessThan(1e-14 * rows);
  for (let i = 0; i < columns; i++) for (let j = 0; j < i; j++) expect(r.data[i * columns + j]).toBe(0);
});
