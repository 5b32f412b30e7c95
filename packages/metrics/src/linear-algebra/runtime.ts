/** The costly steps in float64, on the TensorFlow runtime where it runs and they are large, else in TypeScript. */
import { type TensorFlowBackend, tensorFlowBackend } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { typedArrays } from './algebra.js';
import { cholesky, pivotFloor } from './cholesky.js';
import { type Matrix, multiplyTransposed, transpose } from './matrix.js';
import { runtimeAlgebra } from './runtime-algebra.js';
import { jacobiSingularValues } from './singular-values.js';
import { traceSqrt } from './trace-sqrt.js';

/** Below this dimension the TypeScript code is faster than moving the data. */
const RUNTIME_DIMENSION = 256;
/** The same for singular values, which cost more. */
const RUNTIME_SINGULAR = 64;
/** Multiply-adds of a product from which moving the data pays. */
const RUNTIME_PRODUCT = 1 << 22;

/** `a b^T`; with `b` the same as `a` the result is symmetric. */
export function productTransposed(a: Matrix, b: Matrix): Matrix {
  const backend = a.rows * b.rows * a.columns >= RUNTIME_PRODUCT ? tensorFlowBackend() : undefined;
  if (backend === undefined) return multiplyTransposed(a, b, { symmetric: a === b });
  return scoped(() => {
    const { upload, download, multiply } = runtimeAlgebra(backend);
    const left = upload(a);
    return download(multiply(left, a === b ? left : upload(b), { b: true }));
  });
}

/** `a^T a`, symmetric. */
export function gram(a: Matrix): Matrix {
  const backend = a.rows * a.columns ** 2 >= RUNTIME_PRODUCT ? tensorFlowBackend() : undefined;
  if (backend === undefined) {
    const rows = transpose(a);
    return multiplyTransposed(rows, rows, { symmetric: true });
  }
  return scoped(() => {
    const { upload, download, multiply } = runtimeAlgebra(backend);
    const x = upload(a);
    return download(multiply(x, x, { a: true }));
  });
}

/**
 * `tr (r s)^1/2`, from `L^T s L` with `r = L L^T`, which has the eigenvalues of `r s`; `undefined` if `r` is not positive definite.
 *
 * @param r symmetric positive definite
 * @param s symmetric
 */
export function productTraceSqrt(r: Matrix, s: Matrix): number | undefined {
  const backend = r.rows >= RUNTIME_DIMENSION ? tensorFlowBackend() : undefined;
  if (backend === undefined) {
    const factor = cholesky(r);
    if (factor === undefined) return undefined;
    const upper = transpose(factor); // rows of L^T
    const right = multiplyTransposed(upper, s, { upper: true }); // L^T s
    return traceSqrt(typedArrays, multiplyTransposed(upper, right, { upper: true, symmetric: true }), r.rows);
  }
  return scoped(() => {
    const algebra = runtimeAlgebra(backend);
    const factor = choleskyRows(backend, r);
    return factor && traceSqrt(algebra, congruence(backend, factor, algebra.upload(s)), r.rows);
  });
}

/** Parts that a triangular factor is made of: TensorFlow's own Cholesky takes one core, products take all. */
const BLOCKS = 4;

/** Rows `from` to `to` of an upper triangular matrix, `[to - from, n - from]`: what is zero by its blocks is left out. */
interface BlockRow {
  from: number;
  to: number;
  rows: tf.Tensor;
}

/** Rows of `L^T` with `a = L L^T`; `undefined` if `a` is not positive definite to working precision. */
function choleskyRows(backend: TensorFlowBackend, a: Matrix): BlockRow[] | undefined {
  const { upload, download, part, multiply, subtract, join } = runtimeAlgebra(backend);
  const n = a.rows;
  const floor = pivotFloor(a);
  const whole = upload(a);
  const factor: BlockRow[] = [];
  for (let i = 0; i < BLOCKS; i++) {
    const [from, to] = [Math.floor((i * n) / BLOCKS), Math.floor(((i + 1) * n) / BLOCKS)];
    const width = to - from;
    let rest = part(whole, from, from, width, n - from);
    if (i > 0) {
      const above = join(
        factor.map((row) => part(row.rows, 0, from - row.from, row.to - row.from, n - from)),
        0,
      );
      rest = subtract(rest, multiply(part(above, 0, 0, from, width), above, { a: true }));
    }
    let corner: tf.Tensor;
    try {
      corner = backend.raw('Cholesky', [part(rest, 0, 0, width, width)])[0];
    } catch (error) {
      if (/decomposition was not successful/.test(String(error))) return undefined; // not positive definite
      throw error;
    }
    const roots = download(backend.raw('MatrixDiagPart', [corner])[0].reshape([1, width])).data;
    if (!roots.every((root) => root * root > floor)) return undefined;
    const right = to < n ? [backend.raw('MatrixTriangularSolve', [corner, part(rest, 0, width, width, n - to)])[0]] : [];
    factor.push({ from, to, rows: join([transposed(backend, corner), ...right], 1) });
  }
  return factor;
}

/** `L^T s L` for rows of `L^T` and symmetric `s`. */
function congruence(backend: TensorFlowBackend, factor: BlockRow[], s: tf.Tensor): tf.Tensor {
  const { part, multiply, join } = runtimeAlgebra(backend);
  const n = s.shape[0];
  const half = join(
    factor.map(({ from, rows }) => multiply(rows, part(s, from, 0, n - from, n))),
    0,
  ); // L^T s
  const lower = factor.map(({ from, to, rows }) => multiply(rows, part(half, 0, from, to, n - from), { b: true }));
  // Right of a block on the diagonal is the transpose of what is below it.
  const above = (block: number, { from, to }: BlockRow) =>
    transposed(backend, part(lower[block], 0, from, lower[block].shape[0], to - from));
  return join(
    factor.map((row, i) => join([lower[i], ...factor.slice(i + 1).map((_, below) => above(i + 1 + below, row))], 1)),
    0,
  );
}

function transposed(backend: TensorFlowBackend, x: tf.Tensor): tf.Tensor {
  return backend.raw('Transpose', [x, tf.tensor1d([1, 0], 'int32')])[0];
}

/** `tr a^1/2` for symmetric, positive semidefinite `a`. */
export function matrixTraceSqrt(a: Matrix): number {
  const backend = a.rows >= RUNTIME_DIMENSION ? tensorFlowBackend() : undefined;
  if (backend === undefined) return traceSqrt(typedArrays, a, a.rows);
  return scoped(() => {
    const algebra = runtimeAlgebra(backend);
    return traceSqrt(algebra, algebra.upload(a), a.rows);
  });
}

/** Singular values of a matrix, in no particular order. */
export function singularValues(a: Matrix): Float64Array {
  const backend = Math.min(a.rows, a.columns) >= RUNTIME_SINGULAR ? tensorFlowBackend() : undefined;
  if (backend === undefined) return jacobiSingularValues(a);
  return scoped(() => {
    const { upload, download } = runtimeAlgebra(backend);
    const values = backend.raw('Svd', [upload(a)], { compute_uv: { bool: false } }, 3)[0];
    return download(values.reshape([1, values.size])).data;
  });
}

/** Runs `work` and frees the tensors that it made. */
function scoped<T>(work: () => T): T {
  tf.engine().startScope();
  try {
    return work();
  } finally {
    tf.engine().endScope();
  }
}
