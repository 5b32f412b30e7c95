/**
 * Trace of the square root of a symmetric semidefinite matrix, without its eigenvalues: of the integral
 *
 *   sqrt(x) = sqrt(c) + 1/pi integral_0^inf log((x + t^2) / (c + t^2)) dt
 *
 * the sum over eigenvalues `x` needs only determinants of `A + t^2`, which are cheap for a band. With `t = sqrt(m) sc(u)` for the
 * smallest eigenvalue `m` the trapezoidal rule converges geometrically, as in method 3 of Hale, Higham and Trefethen (2008). An
 * eigenvalue that rounding made negative counts as zero: the integral of `log |x + t^2|` is then as large as for `x = 0`.
 */
import { ArgumentError } from '@dit-moe/tensor-ops';
import type { Algebra } from './algebra.js';
import { type Band, reduceToBand } from './band.js';
import { doubles } from './matrix.js';

/** Ratio of the smallest eigenvalue that is resolved to the bound of the largest one. */
const RESOLVED = 2 ** -56;
/** The error of the rule is about `exp(-2 pi^2 NODES / (3 - log RESOLVED))`, 1e-13. */
const NODES = 64;

/**
 * Sum of the square roots of the eigenvalues of `a`.
 *
 * @param a symmetric, positive semidefinite `[size, size]`
 * @throws ArgumentError if the matrix is not finite
 */
export function traceSqrt<T>(algebra: Algebra<T>, a: T, size: number): number {
  if (size === 0) return 0;
  return bandTraceSqrt(reduceToBand(algebra, a, size));
}

/** The same of a band; `c` is a bound of the eigenvalues. */
function bandTraceSqrt(band: Band): number {
  const { size, width, columns } = band;
  // Gershgorin: no eigenvalue is larger than the sum of the magnitudes in its row.
  const sums = new Float64Array(size + width);
  for (let k = 0, at = 0; k < size; k++) {
    for (let i = 0; i <= width; i++, at++) {
      const magnitude = Math.abs(columns[at]);
      sums[k] += magnitude;
      if (i > 0) sums[k + i] += magnitude;
    }
  }
  const largest = sums.reduce((a, b) => Math.max(a, b), 0);
  if (!Number.isFinite(largest)) throw new ArgumentError('covariance', 'finite entries', 'NaN or infinity');
  if (largest === 0) return 0;
  const smallest = largest * RESOLVED;
  const padded = new Float64Array((size + width + 2) * (width + 2));
  for (let k = 0; k < size; k++) padded.set(columns.subarray(k * (width + 1), (k + 1) * (width + 1)), k * (width + 2));
  const work = doubles(padded.length);
  let integral = 0;
  for (const { t, weight } of nodes()) {
    const square = smallest * t * t;
    for (let i = 0; i < padded.length; i++) work[i] = padded[i];
    for (let k = 0; k < size; k++) work[k * (width + 2)] += square;
    integral += weight * logRatio(work, size, width, largest + square);
  }
  return Math.sqrt(largest) * size + (Math.sqrt(smallest) * integral) / Math.PI;
}

/**
 * `log |det A / scale^size|` of the band `work`, which is overwritten by its factors `L D L^T`. Columns are `width + 2` apart and
 * end with a zero, so that two of them are subtracted at once, from two others: an entry that is loaded serves two columns.
 */
function logRatio(work: number[], size: number, width: number, scale: number): number {
  const step = width + 2;
  const tiny = scale * Number.EPSILON ** 2; // in place of a pivot of zero
  let sum = 0;
  for (let k = 0; k < size; k += 2) {
    const first = k * step;
    const second = first + step;
    const pivot = work[first] || tiny;
    const factor = work[first + 1] / pivot;
    for (let i = 1; i <= width; i++) work[second + i - 1] -= factor * work[first + i];
    const next = work[second] || tiny;
    sum += Math.log(Math.abs(pivot / scale));
    if (k + 1 < size) sum += Math.log(Math.abs(next / scale));
    const end = first + width + 1;
    for (let i = 2, column = second + step; i <= width + 1; i += 2, column += 2 * step) {
      const f = work[first + i] / pivot;
      const g = work[second + i - 1] / next;
      const p = work[first + i + 1] / pivot;
      const q = work[second + i] / next;
      work[column] -= f * work[first + i] + g * work[second + i - 1];
      for (let x = first + i + 1, y = second + i, at = column + 1, to = column + step; x <= end; x++, y++, at++, to++) {
        const u = work[x];
        const v = work[y];
        work[at] -= f * u + g * v;
        work[to] -= p * u + q * v;
      }
    }
  }
  return sum;
}

/**
 * Nodes `t = sc(u)` and weights `du dt/du` of the trapezoidal rule on `0 < u < K`, for the complementary modulus `k' = 2^-28`: so
 * small that `K = log(4 / k')` and one step of the descending Landen transformation are exact to rounding (Abramowitz and Stegun
 * 16.12, 17.3.26), and `t(K - u) = 1 / (k' t(u))`.
 */
function nodes(): { t: number; weight: number }[] {
  const step = Math.log(4 / Math.sqrt(RESOLVED)) / NODES;
  return Array.from({ length: NODES }, (_, index) => {
    const mirrored = index >= NODES / 2;
    const u = ((mirrored ? NODES - 1 - index : index) + 0.5) * step;
    const near = Math.sinh(u + (RESOLVED / 8) * Math.sinh(2 * u));
    const t = mirrored ? 1 / (Math.sqrt(RESOLVED) * near) : near;
    return { t, weight: step * Math.sqrt((1 + RESOLVED * t * t) * (1 + t * t)) };
  });
}
