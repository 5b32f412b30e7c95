/**
 * Eigenvalues of a symmetric matrix: Householder reduction to tridiagonal form (Golub and Van Loan, section 8.3), then the QL
 * iteration without square roots (Parlett 1980, section 8.15).
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
  const { diagonal, squares } = tridiagonalise(a);
  // Small values first: QL then finds them before rounding of the large ones reaches them.
  if (Math.abs(diagonal[0] ?? 0) > Math.abs(diagonal.at(-1) ?? 0)) {
    diagonal.reverse();
    squares.subarray(0, -1).reverse();
  }
  rationalQl(diagonal, squares);
  return diagonal.sort();
}

/**
 * Diagonal and squared couplings (`squares[i]` of `i` and `i + 1`) of a tridiagonal matrix with the eigenvalues of `a`.
 *
 * Step `k` reflects column `k` onto its first entry below the diagonal, which changes the rest by `- v w^T - w v^T`. That is not
 * applied at once but in the pass over the rest that the next step makes anyway: the matrix goes through the cache once per step.
 */
function tridiagonalise(a: Matrix): { diagonal: Float64Array; squares: Float64Array } {
  const n = a.rows;
  const work = a.data.slice();
  const diagonal = new Float64Array(n);
  const squares = new Float64Array(n);
  let [v, nextV] = [new Float64Array(n), new Float64Array(n)];
  const [w, p] = [new Float64Array(n), new Float64Array(n)];

  for (let k = 0; k < n; k++) {
    // Column k, with the last step's change.
    for (let i = k; i < n; i++) nextV[i] = work[i * n + k]! - v[i]! * w[k]! - w[i]! * v[k]!;
    diagonal[k] = nextV[k]!;
    if (k === n - 1) break;
    const first = nextV[k + 1]!;
    let square = 0;
    for (let i = k + 1; i < n; i++) square += nextV[i]! * nextV[i]!;
    squares[k] = square;
    // Nothing to reflect: the rest still gets the last step's change.
    const norm = k === n - 2 ? 0 : Math.sqrt(square);
    const alpha = first > 0 ? -norm : norm;
    nextV[k + 1] = first - alpha;
    changeAndMultiply(work, n, k + 1, v, w, nextV, p);
    [v, nextV] = [nextV, v];
    if (norm === 0) {
      w.fill(0, k + 1);
      continue;
    }
    const beta = 1 / (norm * (norm + Math.abs(first))); // 2 / v^T v
    let dot = 0;
    for (let i = k + 1; i < n; i++) dot += p[i]! * v[i]!;
    const half = (beta * beta * dot) / 2;
    for (let i = k + 1; i < n; i++) w[i] = beta * p[i]! - half * v[i]!;
  }
  return { diagonal, squares };
}

/**
 * From row and column `from` on: `A -= v w^T + w v^T` in the lower half of `work`, and `p = A x`; two rows at a time, so that
 * every vector entry that is loaded is used twice.
 */
function changeAndMultiply(
  work: Float64Array,
  n: number,
  from: number,
  v: Float64Array,
  w: Float64Array,
  x: Float64Array,
  p: Float64Array,
): void {
  p.fill(0, from);
  let i = from;
  for (; i + 1 < n; i += 2) {
    const [v0, w0, x0] = [v[i]!, w[i]!, x[i]!];
    const [v1, w1, x1] = [v[i + 1]!, w[i + 1]!, x[i + 1]!];
    let [s0, s1] = [0, 0];
    let at = i * n + from;
    for (let j = from; j < i; j++, at++) {
      const [vj, wj, xj] = [v[j]!, w[j]!, x[j]!];
      const a0 = work[at]! - v0 * wj - w0 * vj;
      const a1 = work[at + n]! - v1 * wj - w1 * vj;
      work[at] = a0;
      work[at + n] = a1;
      s0 += a0 * xj;
      s1 += a1 * xj;
      p[j]! += a0 * x0 + a1 * x1;
    }
    const top = (work[at]! -= 2 * v0 * w0);
    const side = (work[at + n]! -= v1 * w0 + w1 * v0);
    const bottom = (work[at + n + 1]! -= 2 * v1 * w1);
    p[i]! += s0 + top * x0 + side * x1;
    p[i + 1]! += s1 + side * x0 + bottom * x1;
  }
  if (i < n) {
    let sum = 0;
    const row = i * n;
    for (let j = from; j < i; j++) {
      const a = (work[row + j]! -= v[i]! * w[j]! + w[i]! * v[j]!);
      sum += a * x[j]!;
      p[j]! += a * x[i]!;
    }
    p[i]! += sum + (work[row + i]! -= 2 * v[i]! * w[i]!) * x[i]!;
  }
}

/**
 * Turns the diagonal `d` of a tridiagonal matrix with squared couplings `e` into its eigenvalues, one after the other from the
 * start.
 */
function rationalQl(d: Float64Array, e: Float64Array): void {
  const n = d.length;
  for (let l = 0; l < n; l++) {
    for (let sweep = 0; ; sweep++) {
      let m = l;
      // A coupling that rounding hides beside its neighbours on the diagonal is zero.
      while (m < n - 1 && !(e[m]! <= Number.EPSILON ** 2 * Math.abs(d[m]! * d[m + 1]!))) m++;
      if (m < n - 1) e[m] = 0;
      if (m === l) break;
      if (sweep === MAX_SWEEPS)
        throw new DitMoeError('E_EIGEN', 'The eigenvalues do not converge: the matrix has entries that are not finite.');
      // Wilkinson's shift, from the first two rows.
      const root = Math.sqrt(e[l]!);
      const ratio = (d[l + 1]! - d[l]!) / (2 * root);
      const shift = d[l]! - root / (ratio + (ratio < 0 ? -1 : 1) * Math.hypot(ratio, 1));
      let [c, s, gamma] = [1, 0, d[m]! - shift];
      let p = gamma * gamma;
      for (let i = m - 1; i >= l; i--) {
        const square = e[i]!;
        const r = p + square;
        if (i !== m - 1) e[i + 1] = s * r;
        const before = c;
        c = p / r;
        s = square / r;
        const previous = gamma;
        gamma = c * (d[i]! - shift) - s * previous;
        d[i + 1] = previous + (d[i]! - gamma);
        p = c === 0 ? before * square : (gamma * gamma) / c;
      }
      e[l] = s * p;
      d[l] = shift + gamma;
    }
  }
}
