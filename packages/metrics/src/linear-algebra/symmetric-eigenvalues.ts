/**
 * Eigenvalues of a symmetric matrix: reflections make it tridiagonal, and QL steps with implicit shifts diagonal (Golub and Van Loan
 * 2013, 8.3; the routines `tred2` and `tql1` of Wilkinson and Reinsch).
 */
import { ArgumentError } from '@dit-moe/tensor-ops';
import type { Matrix } from './matrix.js';

/** Far more steps than any eigenvalue needs (1 to 3). */
const MAX_STEPS = 60;

/**
 * Eigenvalues in no particular order, float64 `[n]`; their error is some rounding errors of the largest one.
 * @param a symmetric `[n, n]`; its lower half is read
 * @throws ArgumentError if an entry is not finite
 */
export function symmetricEigenvalues(a: Matrix): Float64Array {
  const { diagonal, below } = tridiagonal(a);
  const n = diagonal.length;
  if (![...diagonal, ...below].every(Number.isFinite)) throw new ArgumentError('symmetricEigenvalues', 'finite entries', 'NaN or infinity');
  for (let l = 0; l < n; l++) {
    for (let step = 0; ; step++) {
      let m = l;
      while (m < n - 1 && Math.abs(below[m]) > Number.EPSILON * (Math.abs(diagonal[m]) + Math.abs(diagonal[m + 1]))) m++;
      if (m === l || step === MAX_STEPS) break;
      const half = (diagonal[l + 1] - diagonal[l]) / (2 * below[l]);
      const root = Math.hypot(half, 1);
      let g = diagonal[m] - diagonal[l] + below[l] / (half + (half < 0 ? -root : root));
      let [s, c, p] = [1, 1, 0];
      for (let i = m - 1; i >= l; i--) {
        const [f, b] = [s * below[i], c * below[i]];
        const r = Math.hypot(f, g);
        below[i + 1] = r;
        if (r === 0) {
          diagonal[i + 1] -= p;
          below[m] = 0;
          break;
        }
        [s, c] = [f / r, g / r];
        const shifted = diagonal[i + 1] - p;
        const rest = (diagonal[i] - shifted) * s + 2 * c * b;
        p = s * rest;
        diagonal[i + 1] = shifted + p;
        g = c * rest - b;
        if (i === l) {
          diagonal[l] -= p;
          below[l] = g;
          below[m] = 0;
        }
      }
    }
  }
  return diagonal;
}

/** The diagonal of a tridiagonal matrix with the eigenvalues of `a`, and the diagonal below it, with a last entry of 0. */
function tridiagonal({ rows: n, data }: Matrix): { diagonal: Float64Array; below: Float64Array } {
  const a = data.slice();
  const diagonal = new Float64Array(n);
  const below = new Float64Array(n);
  const v = new Float64Array(n);
  const w = new Float64Array(n);
  for (let k = 0; k < n; k++) {
    diagonal[k] = a[k * n + k];
    if (k === n - 1) break;
    // The column below the diagonal becomes (end, 0, ..., 0): a -> (I - v v^T) a (I - v v^T).
    let square = 0;
    for (let i = k + 1; i < n; i++) {
      v[i] = a[i * n + k];
      square += v[i] * v[i];
    }
    const norm = Math.sqrt(square);
    const end = v[k + 1] > 0 ? -norm : norm;
    below[k] = end;
    if (norm === 0 || k === n - 2) {
      if (k === n - 2) below[k] = v[k + 1];
      continue;
    }
    const scale = 1 / Math.sqrt(norm * (norm + Math.abs(v[k + 1])));
    v[k + 1] -= end;
    for (let i = k + 1; i < n; i++) v[i] *= scale;
    // w = a v, from the lower half alone.
    w.fill(0, k + 1);
    for (let i = k + 1; i < n; i++) {
      const row = i * n;
      const x = v[i];
      let sum = 0;
      for (let j = k + 1; j < i; j++) {
        const entry = a[row + j];
        sum += entry * v[j];
        w[j] += entry * x;
      }
      w[i] += sum + a[row + i] * x;
    }
    let inner = 0;
    for (let i = k + 1; i < n; i++) inner += v[i] * w[i];
    for (let i = k + 1; i < n; i++) w[i] -= (inner / 2) * v[i];
    for (let i = k + 1; i < n; i++) {
      const row = i * n;
      const [x, y] = [v[i], w[i]];
      for (let j = k + 1; j <= i; j++) a[row + j] -= x * w[j] + y * v[j];
    }
  }
  return { diagonal, below };
}
