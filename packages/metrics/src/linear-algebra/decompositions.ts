/** The costly steps in float64, on the TensorFlow runtime where it runs and they are large, else in TypeScript. */
import { float64Runtime } from '@dit-moe/tensor-ops';
import { cholesky, pivotedCholesky, pivotFloor } from './cholesky.js';
import { type Matrix, multiplyTransposed, transpose } from './matrix.js';
import { singularValues } from './singular-values.js';

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
 * `u` `[rank, n]` with `a = u^T u`, and whether `a` is positive definite to working precision.
 *
 * @param a symmetric, positive semidefinite
 * @param singular whether that is known
 */
export function factorize(a: Matrix, singular: boolean): { factor: Matrix; definite: boolean } {
  const lower = singular ? undefined : (runtimeFor(a.rows ** 3)?.cholesky ?? cholesky)(a);
  const floor = pivotFloor(a);
  const definite = lower?.data.every((value, at) => at % (a.rows + 1) !== 0 || value * value > floor) === true;
  return { factor: definite ? transpose(lower) : pivotedCholesky(a), definite };
}

/** Sum of the singular values of `a`. */
export function sumOfSingularValues(a: Matrix): number {
  const runtime = runtimeFor(Math.min(a.rows, a.columns) ** 2 * Math.max(a.rows, a.columns));
  return (runtime?.singularValues ?? singularValues)(a).reduce((sum, value) => sum + value, 0);
}
