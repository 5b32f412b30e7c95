/**
 * Eigenvalues of a symmetric matrix: Householder reduction to tridiagonal form, then implicit QL (Golub and Van Loan, sections 8.3
 * and 8.4).
 */
import { DitMoeError } from '@dit-moe/tensor-ops';
import type { Matrix } from './matrix.js';

/** QL did not converge, which means that the matrix holds NaN or infinity. */
const MAX_SWEEPS = 60;

/**
 * Eigenvalues, ascending.
 *
 * @param a symmetric; only its lower half is read
 * @throws DitMoeError `E_EIGEN` if the matrix is not finite
 */
export function symmetricEigenvalues(a: Matrix): Float64Array {
  const n = a.rows;
  const work = a.data.slice();
  const diagonal = new Float64Array(n);
  const off = new Float64Array(n); // off[i] couples i and i + 1
  const v = new Float64Array(n);
  const p = new Float64Array(n);

  // Eliminate column k below the subdiagonal; the trailing matrix gets the symmetric rank-2 update A - v w^T - w v^T.
  for (let k = 0; k < n - 1; k++) {
    diagonal[k] = work[k * n + k]!;
    let norm = 0;
    for (let i = k + 1; i < n; i++) {
      v[i] = work[i * n + k]!;
      norm += v[i]! * v[i]!;
    }
    norm = Math.sqrt(norm);
    if (norm === 0 || k === n - 2) {
      off[k] = v[k + 1]!;
      continue;
    }
    const alpha = v[k + 1]! > 0 ? -norm : norm;
    off[k] = alpha;
    v[k + 1]! -= alpha;
    const beta = 1 / (norm * (norm + Math.abs(v[k + 1]! + alpha))); // 2 / v^T v
    // p = beta A v, using the lower half only: every entry is loaded once and used twice.
    p.fill(0, k + 1);
    for (let i = k + 1; i < n; i++) {
      const row = i * n;
      const vi = v[i]!;
      let [s0, s1] = [0, 0];
      let j = k + 1;
      for (; j + 1 < i; j += 2) {
        const [a0, a1] = [work[row + j]!, work[row + j + 1]!];
        s0 += a0 * v[j]!;
        s1 += a1 * v[j + 1]!;
        p[j]! += a0 * vi;
        p[j + 1]! += a1 * vi;
      }
      for (; j < i; j++) {
        s0 += work[row + j]! * v[j]!;
        p[j]! += work[row + j]! * vi;
      }
      p[i]! += s0 + s1 + work[row + i]! * vi;
    }
    let dot = 0;
    for (let i = k + 1; i < n; i++) {
      p[i]! *= beta;
      dot += p[i]! * v[i]!;
    }
    const half = (beta * dot) / 2;
    for (let i = k + 1; i < n; i++) p[i]! -= half * v[i]!;
    for (let i = k + 1; i < n; i++) {
      const row = i * n;
      const [vi, wi] = [v[i]!, p[i]!];
      for (let j = k + 1; j <= i; j++) work[row + j]! -= vi * p[j]! + wi * v[j]!;
    }
  }
  diagonal[n - 1] = work[n * n - 1]!;

  implicitQl(diagonal, off);
  return diagonal.sort();
}

function implicitQl(d: Float64Array, e: Float64Array): void {
  const n = d.length;
  let scale = 0; // Largest |d| + |e| so far: couplings below its rounding are zero, as in EISPACK's tql2.
  for (let l = 0; l < n; l++) {
    scale = Math.max(scale, Math.abs(d[l]!) + Math.abs(e[l]!));
    for (let sweep = 0; ; sweep++) {
      let m = l;
      for (; m < n - 1; m++) {
        if (Math.abs(e[m]!) <= Number.EPSILON * scale) break;
      }
      if (m === l) break;
      if (sweep === MAX_SWEEPS)
        throw new DitMoeError('E_EIGEN', 'The eigenvalues do not converge: the matrix has entries that are not finite.');
      let g = (d[l + 1]! - d[l]!) / (2 * e[l]!);
      let r = Math.hypot(g, 1);
      g = d[m]! - d[l]! + e[l]! / (g + (g < 0 ? -r : r));
      let [s, c, shift] = [1, 1, 0];
      let i = m - 1;
      for (; i >= l; i--) {
        const f = s * e[i]!;
        const b = c * e[i]!;
        r = Math.hypot(f, g);
        e[i + 1] = r;
        if (r === 0) {
          d[i + 1]! -= shift;
          e[m] = 0;
          break;
        }
        s = f / r;
        c = g / r;
        g = d[i + 1]! - shift;
        r = (d[i]! - g) * s + 2 * c * b;
        shift = s * r;
        d[i + 1] = g + shift;
        g = c * r - b;
      }
      if (r === 0 && i >= l) continue;
      d[l]! -= shift;
      e[l] = g;
      e[m] = 0;
    }
  }
}
