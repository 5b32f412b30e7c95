/**
 * Frechet distance of two Gaussians (Heusel et al. 2017): `|m1 - m2|^2 + tr S1 + tr S2 - 2 tr (S1 S2)^1/2`, without complex
 * arithmetic. The eigenvalues of `S1 S2` are those of the symmetric `L^T S2 L` with `S1 = L L^T`; if neither covariance is
 * positive definite, those of `S1^1/2 S2 S1^1/2`.
 */
import { MetricError } from './errors.js';
import { type Matrix, matrix, multiplyTransposed, trace, transpose } from './linear-algebra/matrix.js';
import { eigenvalues, productEigenvalues } from './linear-algebra/runtime.js';
import { symmetricEigen } from './linear-algebra/symmetric-eigen.js';
import type { Moments } from './moments.js';

/** A distance with its parts: `distance = max(0, meanTerm + traceA + traceB - 2 traceSqrt)`. */
export interface FrechetDistance {
  distance: number;
  meanTerm: number;
  traceA: number;
  traceB: number;
  traceSqrt: number;
  /** How the square root's trace was found; `symmetric` means that both covariances are rank deficient. */
  method: 'cholesky' | 'symmetric';
}

/**
 * Frechet distance between two sets of moments. Rounding can make equal sets slightly negative; the result is at least 0.
 *
 * @throws MetricError if the dimensions differ or an entry is not finite
 */
export function frechetDistance(a: Pick<Moments, 'mean' | 'covariance'>, b: Pick<Moments, 'mean' | 'covariance'>): FrechetDistance {
  const dimension = a.mean.length;
  if (b.mean.length !== dimension) throw new MetricError('frechetDistance', `the sets have ${dimension} and ${b.mean.length} dimensions.`);
  for (const { mean, covariance } of [a, b]) {
    if (covariance.rows !== dimension || covariance.columns !== dimension)
      throw new MetricError(
        'frechetDistance',
        `a covariance is ${covariance.rows} x ${covariance.columns}, expected ${dimension} x ${dimension}.`,
      );
    if (!mean.every(Number.isFinite) || !covariance.data.every(Number.isFinite))
      throw new MetricError('frechetDistance', 'a mean or covariance has entries that are not finite.');
  }
  let meanTerm = 0;
  for (let i = 0; i < dimension; i++) meanTerm += (a.mean[i]! - b.mean[i]!) ** 2;
  const [traceA, traceB] = [trace(a.covariance), trace(b.covariance)];

  let method: FrechetDistance['method'] = 'cholesky';
  let values = productEigenvalues(a.covariance, b.covariance) ?? productEigenvalues(b.covariance, a.covariance);
  if (values === undefined) {
    method = 'symmetric';
    const root = squareRoot(a.covariance);
    values = eigenvalues(multiplyTransposed(multiplyTransposed(root, b.covariance), root, true));
  }
  let traceSqrt = 0;
  for (const value of values) traceSqrt += Math.sqrt(Math.max(0, value));
  return { distance: Math.max(0, meanTerm + traceA + traceB - 2 * traceSqrt), meanTerm, traceA, traceB, traceSqrt, method };
}

/** Symmetric square root; negative eigenvalues are rounding noise of zeros. */
function squareRoot(s: Matrix): Matrix {
  const { values, vectors } = symmetricEigen(s, true);
  const n = s.rows;
  const scaled = matrix(n, n, vectors!.data.slice());
  for (let i = 0; i < n; i++) {
    const factor = Math.max(0, values[i]!) ** 0.25;
    for (let j = 0; j < n; j++) scaled.data[i * n + j]! *= factor;
  }
  const columns = transpose(scaled);
  return multiplyTransposed(columns, columns, true);
}
