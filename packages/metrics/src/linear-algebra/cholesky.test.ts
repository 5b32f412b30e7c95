import { expect, test } from 'vitest';
import { noise } from '../testing/sets.js';
import { pivotedCholesky } from './cholesky.js';
import { matrix, multiplyTransposed, transpose } from './matrix.js';

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
