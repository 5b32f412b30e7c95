/**
 * Frechet distance of two Gaussians (Heusel et al. 2017): `|m1 - m2|^2 + tr S1 + tr S2 - 2 tr (S1 S2)^1/2`, without complex
 * arithmetic. With `S1 = U1^T U1` and `S2 = U2^T U2` the last trace is the sum of the singular values of `U1 U2^T`: unlike eigenvalues
 * of the product, whose roots are taken afterwards, they lose no digits where the covariances are ill-conditioned.
 */
import { MetricError } from './errors.js';
import type { Features } from './features.js';
import { factorize, productTransposed, sumOfSingularValues } from './linear-algebra/decompositions.js';
import { type Matrix, matrix, trace } from './linear-algebra/matrix.js';
import { type Moments, momentsOf } from './moments.js';

/** A distance with its parts: `distance = max(0, meanTerm + traceA + traceB - 2 traceSqrt)`. */
export interface FrechetDistance {
  distance: number;
  meanTerm: number;
  traceA: number;
  traceB: number;
  traceSqrt: number;
  /**
   * How the square root's trace was found; `rank-deficient` means that both covariances are so, `features` that the features
   * themselves were used.
   */
  method: 'cholesky' | 'rank-deficient' | 'features';
}

/** Moments; the number of samples, where known, tells whether the covariance is singular. */
type Statistics = Pick<Moments, 'mean' | 'covariance'> & { readonly count?: number };

/**
 * Frechet distance between two sets of moments. Rounding can make equal sets slightly negative; the result is at least 0.
 *
 * @throws MetricError if the dimensions differ or an entry is not finite
 */
export function frechetDistance(a: Statistics, b: Statistics): FrechetDistance {
  const dimension = a.mean.length;
  if (b.mean.length !== dimension) throw new MetricError('frechetDistance', `the sets have ${dimension} and ${b.mean.length} dimensions.`);
  for (const { mean, covariance } of [a, b]) {
    if (covariance.rows !== dimension || covariance.columns !== dimension)
      throw new MetricError(
        'frechetDistance',
        `a covariance is ${covariance.rows} x ${covariance.columns}, expected ${dimension} x ${dimension}.`,
      );
    if (!allFinite(mean) || !allFinite(covariance.data))
      throw new MetricError('frechetDistance', 'a mean or covariance has entries that are not finite.');
  }
  // With as many samples as dimensions or fewer a covariance is singular, whatever rounding makes of it.
  const [x, y] = [a, b].map(({ covariance, count }) => factorize(covariance, count !== undefined && count <= dimension));
  const traceSqrt = sumOfSingularValues(productTransposed(x.factor, y.factor));
  const method = x.definite || y.definite ? 'cholesky' : 'rank-deficient';
  return assemble(a.mean, b.mean, trace(a.covariance), trace(b.covariance), traceSqrt, method);
}

/**
 * Frechet distance between two sets of features, at least 2 each.
 *
 * With fewer samples than dimensions the covariances are singular, and `tr (S1 S2)^1/2` is the sum of the singular values of
 * `A B^T` with the centred features `A`, `B`: exact where the covariances lose half of the digits, and far cheaper.
 */
export function frechetDistanceOf(a: Features, b: Features): FrechetDistance {
  if (a.dimension !== b.dimension) throw new MetricError('frechetDistance', `the sets have ${a.dimension} and ${b.dimension} dimensions.`);
  if (Math.min(a.count, b.count) > a.dimension) return frechetDistance(momentsOf(a), momentsOf(b));
  const [x, y] = [centred(a), centred(b)];
  const traceSqrt = sumOfSingularValues(productTransposed(x.rows, y.rows));
  return assemble(x.mean, y.mean, x.trace, y.trace, traceSqrt, 'features');
}

/** Deviations from the mean over `sqrt(N - 1)`, so that their Gram matrix is the covariance. */
function centred({ count, dimension, data }: Features): { mean: Float64Array; rows: Matrix; trace: number } {
  if (count < 2) throw new MetricError('frechetDistance', `each set needs at least 2 samples, found ${count}.`);
  const mean = new Float64Array(dimension);
  for (let i = 0; i < data.length; i++) mean[i % dimension] += data[i] / count;
  if (!mean.every(Number.isFinite)) throw new MetricError('frechetDistance', 'a feature is not finite.');
  const scale = 1 / Math.sqrt(count - 1);
  const values = Float64Array.from(data, (value, i) => (value - mean[i % dimension]) * scale);
  return { mean, rows: matrix(count, dimension, values), trace: values.reduce((sum, value) => sum + value * value, 0) };
}

/** Whether all are finite; a plain loop, since `every` takes its time on millions of entries. */
function allFinite(values: Float64Array): boolean {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i] * 0;
  return sum === 0;
}

function assemble(
  meanA: Float64Array,
  meanB: Float64Array,
  traceA: number,
  traceB: number,
  traceSqrt: number,
  method: FrechetDistance['method'],
): FrechetDistance {
  const meanTerm = meanA.reduce((sum, value, i) => sum + (value - meanB[i]) ** 2, 0);
  return { distance: Math.max(0, meanTerm + traceA + traceB - 2 * traceSqrt), meanTerm, traceA, traceB, traceSqrt, method };
}
