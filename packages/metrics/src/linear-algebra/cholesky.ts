import { type Matrix, matrix } from './matrix.js';

/**
 * Lower triangular `L` with `a = L L^T`, or `undefined` if `a` is not positive definite to working precision.
 * Row-oriented (Cholesky-Banachiewicz), so that every inner product runs along rows.
 *
 * @param a symmetric
 */
export function cholesky(a: Matrix): Matrix | undefined {
  const n = a.rows;
  const factor = matrix(n, n);
  const l = factor.data;
  const floor = pivotFloor(a);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      let [s0, s1, s2, s3] = [0, 0, 0, 0];
      const [p, q] = [i * n, j * n];
      let k = 0;
      for (; k + 3 < j; k += 4) {
        s0 += l[p + k]! * l[q + k]!;
        s1 += l[p + k + 1]! * l[q + k + 1]!;
        s2 += l[p + k + 2]! * l[q + k + 2]!;
        s3 += l[p + k + 3]! * l[q + k + 3]!;
      }
      for (; k < j; k++) s0 += l[p + k]! * l[q + k]!;
      const rest = a.data[p + j]! - (s0 + s1 + (s2 + s3));
      if (i !== j) l[p + j] = rest / l[q + j]!;
      else if (rest <= floor || !Number.isFinite(rest)) return undefined;
      else l[p + i] = Math.sqrt(rest);
    }
  }
  return factor;
}

/**
 * `u` `[rank, n]` with `a = u^T u` for a semidefinite matrix: Cholesky with complete pivoting, which ends when nothing but rounding
 * noise is left (Higham 2002, section 10.3).
 *
 * @param a symmetric, positive semidefinite
 */
export function pivotedCholesky(a: Matrix): Matrix {
  const n = a.rows;
  const floor = pivotFloor(a);
  const rest = Float64Array.from({ length: n }, (_, i) => a.data[i * n + i]!);
  const rows: Float64Array[] = [];
  while (rows.length < n) {
    let pivot = 0;
    for (let i = 1; i < n; i++) if (rest[i]! > rest[pivot]!) pivot = i;
    if (!(rest[pivot]! > floor)) break;
    const row = a.data.slice(pivot * n, (pivot + 1) * n);
    for (const earlier of rows) {
      const factor = earlier[pivot]!;
      if (factor !== 0) for (let j = 0; j < n; j++) row[j]! -= factor * earlier[j]!;
    }
    const scale = 1 / Math.sqrt(rest[pivot]!);
    for (let j = 0; j < n; j++) {
      row[j]! *= scale;
      rest[j]! -= row[j]! ** 2;
    }
    rest[pivot] = 0;
    rows.push(row);
  }
  const factor = matrix(rows.length, n);
  rows.forEach((row, i) => {
    factor.data.set(row, i * n);
  });
  return factor;
}

/** Below this a pivot is rounding noise of the subtraction that made it: the matrix is singular to working precision. */
export function pivotFloor(a: Matrix): number {
  let largest = 0;
  for (let i = 0; i < a.rows; i++) largest = Math.max(largest, a.data[i * a.columns + i]!);
  return largest * a.rows * Number.EPSILON;
}
