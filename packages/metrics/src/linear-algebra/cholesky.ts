import { type Matrix, matrix, multiplyTransposed } from './matrix.js';

/** Columns that are factored before the rest is updated by one product. */
const PANEL = 96;

/**
 * Lower triangular `L` with `a = L L^T`, or `undefined` if `a` is not positive definite to working precision.
 *
 * @param a symmetric
 */
export function cholesky(a: Matrix): Matrix | undefined {
  const n = a.rows;
  const floor = pivotFloor(a);
  const factor = matrix(n, n, a.data.slice());
  const l = factor.data;
  for (let from = 0; from < n; from += PANEL) {
    const to = Math.min(n, from + PANEL);
    // Rows of the panel; what the columns before it contribute is subtracted already.
    for (let i = from; i < n; i++) {
      const row = i * n;
      for (let j = from; j < Math.min(to, i + 1); j++) {
        const other = j * n;
        let rest = l[row + j];
        for (let k = from; k < j; k++) rest -= l[row + k] * l[other + k];
        if (i !== j) l[row + j] = rest / l[other + j];
        else if (rest <= floor || !Number.isFinite(rest)) return undefined;
        else l[row + i] = Math.sqrt(rest);
      }
    }
    const panel = matrix(n - to, to - from);
    for (let i = to; i < n; i++) panel.data.set(l.subarray(i * n + from, i * n + to), (i - to) * panel.columns);
    const { data } = multiplyTransposed(panel, panel, { symmetric: true });
    for (let i = to; i < n; i++) for (let j = to; j <= i; j++) l[i * n + j] -= data[(i - to) * panel.rows + j - to];
  }
  for (let i = 0; i < n; i++) l.fill(0, i * n + i + 1, (i + 1) * n);
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
  const rest = Float64Array.from({ length: n }, (_, i) => a.data[i * n + i]);
  const rows: Float64Array[] = [];
  while (rows.length < n) {
    let pivot = 0;
    for (let i = 1; i < n; i++) if (rest[i] > rest[pivot]) pivot = i;
    if (!(rest[pivot] > floor)) break;
    const row = a.data.slice(pivot * n, (pivot + 1) * n);
    for (const earlier of rows) {
      const factor = earlier[pivot];
      if (factor !== 0) for (let j = 0; j < n; j++) row[j] -= factor * earlier[j];
    }
    const scale = 1 / Math.sqrt(rest[pivot]);
    for (let j = 0; j < n; j++) {
      row[j] *= scale;
      rest[j] -= row[j] ** 2;
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
  for (let i = 0; i < a.rows; i++) largest = Math.max(largest, a.data[i * a.columns + i]);
  return largest * a.rows * Number.EPSILON;
}
