/**
 * Singular values: reflections from both sides make the matrix bidiagonal (Golub and Kahan 1965), whose singular values are the
 * eigenvalues of a tridiagonal matrix with a diagonal of zeros (Golub and Van Loan 2013, 8.6.1), found by QL steps with implicit
 * shifts (the routine `tql1` of Wilkinson and Reinsch).
 */
import { ArgumentError } from '@dit-moe/tensor-ops';
import { type Matrix, transpose } from './matrix.js';

/** Far more steps than any value needs (1 to 3). */
const MAX_STEPS = 60;

/**
 * Singular values in no particular order; their error is some rounding errors of the largest one.
 * @throws ArgumentError if an entry is not finite
 */
export function singularValues(a: Matrix): Float64Array {
  const { diagonal, above } = bidiagonal(a.rows >= a.columns ? a : transpose(a));
  const n = diagonal.length;
  // d1, e1, d2, e2, ..., dn beside the diagonal of zeros: the eigenvalues are the singular values and their negatives.
  const beside = new Float64Array(2 * n);
  for (let i = 0; i < n; i++) [beside[2 * i], beside[2 * i + 1]] = [diagonal[i], above[i]];
  if (!beside.every(Number.isFinite)) throw new ArgumentError('singularValues', 'finite entries', 'NaN or infinity');
  return tridiagonalEigenvalues(beside).sort().subarray(n);
}

/**
 * The diagonal of an upper bidiagonal matrix with the singular values of `a`, and the one above it, with a last entry of 0. `a` has at
 * least as many rows as columns. Memory is what takes the time, so that every step goes over the matrix twice: once for the change from
 * the right of the step before and the sums of the change from the left, once for that change and the sums of the next.
 */
function bidiagonal({ rows: m, columns: n, data }: Matrix): { diagonal: Float64Array; above: Float64Array } {
  const a = data.slice();
  const [diagonal, above] = [new Float64Array(n), new Float64Array(n)];
  // a -> (I - u u^T) a (I - v v^T); y = a v, w = a^T u.
  const [u, y] = [new Float64Array(m), new Float64Array(m)];
  const [v, w] = [new Float64Array(n), new Float64Array(n)];
  for (let k = 0; k < n; k++) {
    for (let i = k; i < m; i++) u[i] = a[i * n + k] - y[i] * v[k];
    diagonal[k] = reflect(u, k, m);
    w.fill(0, k);
    for (let i = k; i < m; i++) {
      const row = i * n;
      const [x, s] = [u[i], y[i]];
      for (let j = k + 1; j < n; j++) {
        const entry = a[row + j] - s * v[j];
        a[row + j] = entry;
        w[j] += x * entry;
      }
    }
    if (k === n - 1) break;
    const top = k * n;
    for (let j = k + 1; j < n; j++) v[j] = a[top + j] - u[k] * w[j];
    above[k] = reflect(v, k + 1, n);
    for (let i = k + 1; i < m; i++) {
      const row = i * n;
      const x = u[i];
      let sum = 0;
      for (let j = k + 1; j < n; j++) {
        const entry = a[row + j] - x * w[j];
        a[row + j] = entry;
        sum += entry * v[j];
      }
      y[i] = sum;
    }
  }
  return { diagonal, above };
}

/** Replaces entries `from` to `to` by the `v` of the reflection `I - v v^T` that leaves only the first of them, which is returned. */
function reflect(v: Float64Array, from: number, to: number): number {
  let square = 0;
  for (let i = from; i < to; i++) square += v[i] * v[i];
  const norm = Math.sqrt(square);
  const first = v[from];
  if (norm === 0 || from === to - 1) {
    v.fill(0, from, to);
    return first;
  }
  const end = first > 0 ? -norm : norm;
  v[from] = first - end;
  const scale = 1 / Math.sqrt(norm * (norm + Math.abs(first)));
  for (let i = from; i < to; i++) v[i] *= scale;
  return end;
}

/** Eigenvalues of a symmetric tridiagonal matrix with a diagonal of zeros; `beside` the diagonal, with a last entry of 0, is overwritten. */
function tridiagonalEigenvalues(beside: Float64Array): Float64Array {
  const n = beside.length;
  const diagonal = new Float64Array(n);
  const negligible = Number.EPSILON * beside.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  for (let l = 0; l < n; l++) {
    for (let step = 0; step < MAX_STEPS; step++) {
      let m = l;
      while (m < n - 1 && Math.abs(beside[m]) > negligible) m++;
      if (m === l) break;
      const half = (diagonal[l + 1] - diagonal[l]) / (2 * beside[l]);
      const root = Math.hypot(half, 1);
      let g = diagonal[m] - diagonal[l] + beside[l] / (half + (half < 0 ? -root : root));
      let [s, c, p] = [1, 1, 0];
      let i = m - 1;
      for (; i >= l; i--) {
        const [f, b] = [s * beside[i], c * beside[i]];
        const r = Math.hypot(f, g);
        beside[i + 1] = r;
        if (r === 0) {
          diagonal[i + 1] -= p;
          break;
        }
        [s, c] = [f / r, g / r];
        const shifted = diagonal[i + 1] - p;
        const rest = (diagonal[i] - shifted) * s + 2 * c * b;
        p = s * rest;
        diagonal[i + 1] = shifted + p;
        g = c * rest - b;
      }
      if (i < l) {
        diagonal[l] -= p;
        beside[l] = g;
      }
      beside[m] = 0;
    }
  }
  return diagonal;
}
