/** The costly steps in float64, on the TensorFlow runtime where it runs and they are large, else in TypeScript. */
import { float64Runtime } from '@dit-moe/tensor-ops';
import { cholesky, pivotFloor } from './cholesky.js';
import { type Matrix, matrix, multiplyTransposed, transpose } from './matrix.js';
import { symmetricEigenvalues } from './symmetric-eigenvalues.js';

/** Multiply-adds from which moving the data to the runtime pays. */
const RUNTIME_WORK = 1 << 22;
const runtimeFor = (multiplyAdds: number) => (multiplyAdds >= RUNTIME_WORK ? float64Runtime() : undefined);

/** `a b^T`; with `b` the same as `a` the result is symmetric. */
export function productTransposed(a: Matrix, b: Matrix): Matrix {
  const runtime = runtimeFor(a.rows * b.rows * a.columns);
  return runtime === undefined ? multiplyTransposed(a, b, { symmetric: a === b }) : runtime.multiply(a, b, { b: true });
}

/** `a^T a`, symmetric. */
export function gram(a: Matrix): Matrix {
  const runtime = runtimeFor(a.rows * a.columns ** 2);
  if (runtime !== undefined) return runtime.multiply(a, a, { a: true });
  const columns = transpose(a);
  return multiplyTransposed(columns, columns, { symmetric: true });
}

/**
 * `tr (r s)^1/2`, from `L^T s L` with `r = L L^T`, which has the eigenvalues of `r s`; `undefined` if `r` is not positive definite to
 * working precision.
 *
 * @param r symmetric
 * @param s symmetric, positive semidefinite
 */
export function productTraceSqrt(r: Matrix, s: Matrix): number | undefined {
  const runtime = runtimeFor(r.rows ** 3);
  if (runtime === undefined) {
    const factor = cholesky(r);
    if (factor === undefined) return undefined;
    const upper = transpose(factor); // rows of L^T
    const right = multiplyTransposed(upper, s, { upper: true }); // L^T s
    return matrixTraceSqrt(multiplyTransposed(upper, right, { upper: true, symmetric: true }));
  }
  const factor = runtime.cholesky(r);
  const floor = pivotFloor(r);
  if (factor === undefined) return undefined;
  for (let i = 0; i < r.rows; i++) if (!(factor.data[i * (r.rows + 1)] ** 2 > floor)) return undefined;
  return matrixTraceSqrt(runtime.multiply(runtime.multiply(factor, s, { a: true }), factor));
}

/** `tr a^1/2` for symmetric, positive semidefinite `a`; an eigenvalue that rounding made negative counts as zero. */
export function matrixTraceSqrt(a: Matrix): number {
  const values = (runtimeFor(a.rows ** 3)?.symmetricEigenvalues ?? symmetricEigenvalues)(a);
  return values.reduce((sum, value) => sum + Math.sqrt(Math.max(0, value)), 0);
}

/** Sum of the singular values. In TypeScript half that of the magnitudes of the eigenvalues of `[[0, a], [a^T, 0]]`, which are `+-` they. */
export function sumOfSingularValues(a: Matrix): number {
  const { rows, columns, data } = a;
  const runtime = runtimeFor(Math.min(rows, columns) ** 2 * Math.max(rows, columns));
  if (runtime !== undefined) return runtime.singularValues(a).reduce((sum, value) => sum + value, 0);
  const size = rows + columns;
  const both = matrix(size, size);
  for (let i = 0; i < rows; i++)
    for (let j = 0; j < columns; j++) both.data[i * size + rows + j] = both.data[(rows + j) * size + i] = data[i * columns + j];
  return symmetricEigenvalues(both).reduce((sum, value) => sum + Math.abs(value) / 2, 0);
}
