/**
 * The costly steps on the TensorFlow runtime where it runs and they are large, else in TypeScript. Both in float64, which tfjs
 * has no type for: matrices go there and back as pairs of int32.
 */
import { DataType, type TensorFlowBackend, tensorFlowBackend } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { cholesky, pivotFloor } from './cholesky.js';
import { type Matrix, matrix, multiplyTransposed, transpose } from './matrix.js';
import { jacobiSingularValues } from './singular-values.js';
import { symmetricEigenvalues } from './symmetric-eigen.js';

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
    const left = upload(backend, a);
    const right = a === b ? left : upload(backend, b);
    return matrix(a.rows, b.rows, download(backend, backend.raw('MatMul', [left, right], { transpose_b: { bool: true } })[0]!));
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
    const x = upload(backend, a);
    return matrix(a.columns, a.columns, download(backend, backend.raw('MatMul', [x, x], { transpose_a: { bool: true } })[0]!));
  });
}

/**
 * Eigenvalues of `L^T s L` with `r = L L^T`, which are those of the product `r s`; `undefined` if `r` is not positive definite.
 *
 * @param r symmetric positive definite
 * @param s symmetric
 */
export function productEigenvalues(r: Matrix, s: Matrix): Float64Array | undefined {
  const backend = r.rows >= RUNTIME_DIMENSION ? tensorFlowBackend() : undefined;
  if (backend === undefined) {
    const factor = cholesky(r);
    if (factor === undefined) return undefined;
    const upper = transpose(factor); // rows of L^T
    const right = multiplyTransposed(upper, s, { upper: true }); // L^T s
    return symmetricEigenvalues(multiplyTransposed(upper, right, { upper: true, symmetric: true }));
  }
  return scoped(() => {
    let factor: tf.Tensor;
    try {
      factor = backend.raw('Cholesky', [upload(backend, r)])[0]!;
    } catch {
      return undefined; // TensorFlow's answer to a matrix that is not positive definite.
    }
    const pivots = download(backend, backend.raw('MatrixDiagPart', [factor])[0]!).map((x) => x * x);
    if (!isWellConditioned(pivots, r)) return undefined;
    return eigenvaluesOnRuntime(backend, lowerProduct(backend, factor, upload(backend, s), r.rows));
  });
}

/** Blocks of columns of a triangular factor; their zeros above are left out, which halves the work. */
const BLOCKS = 4;

/** Lower half of `L^T s L` for lower triangular `L`; what lies above it is not to be read. */
function lowerProduct(backend: TensorFlowBackend, factor: tf.Tensor, s: tf.Tensor, n: number): tf.Tensor {
  const numbers = (...values: number[]) => tf.tensor1d(values, 'int32');
  const part = (x: tf.Tensor, row: number, column: number, rows: number, columns: number) =>
    backend.raw('Slice', [x, numbers(row, column), numbers(rows, columns)])[0]!;
  const stack = (parts: tf.Tensor[]) =>
    backend.raw('ConcatV2', [...parts, tf.scalar(0, 'int32')], {
      N: { int: parts.length },
      T: { type: DataType.float64 },
      Tidx: { type: DataType.int32 },
    })[0]!;
  const blocks = Array.from({ length: BLOCKS }, (_, i) => {
    const [from, to] = [Math.floor((i * n) / BLOCKS), Math.floor(((i + 1) * n) / BLOCKS)];
    return { from, to, columns: part(factor, from, from, n - from, to - from) };
  });
  const half = stack(
    blocks.map(({ from, columns }) => backend.raw('MatMul', [columns, part(s, from, 0, n - from, n)], { transpose_a: { bool: true } })[0]!),
  ); // L^T s
  return stack(
    blocks.map(({ from, to, columns }) => {
      const rows = part(half, 0, from, to, n - from);
      const product = backend.raw('MatMul', [columns, rows], { transpose_a: { bool: true }, transpose_b: { bool: true } })[0]!;
      return backend.raw('Pad', [product, tf.tensor2d([0, 0, 0, n - to], [2, 2], 'int32')])[0]!;
    }),
  );
}

/** Eigenvalues of a symmetric matrix, ascending. */
export function eigenvalues(a: Matrix): Float64Array {
  const backend = a.rows >= RUNTIME_DIMENSION ? tensorFlowBackend() : undefined;
  return backend === undefined ? symmetricEigenvalues(a) : scoped(() => eigenvaluesOnRuntime(backend, upload(backend, a)));
}

/** Singular values of a matrix, in no particular order. */
export function singularValues(a: Matrix): Float64Array {
  const backend = Math.min(a.rows, a.columns) >= RUNTIME_SINGULAR ? tensorFlowBackend() : undefined;
  if (backend === undefined) return jacobiSingularValues(a);
  return scoped(() => download(backend, backend.raw('Svd', [upload(backend, a)], { compute_uv: { bool: false } }, 3)[0]!));
}

function eigenvaluesOnRuntime(backend: TensorFlowBackend, a: tf.Tensor): Float64Array {
  return download(backend, backend.raw('SelfAdjointEigV2', [a], { compute_v: { bool: false } }, 2)[0]!);
}

function upload(backend: TensorFlowBackend, { rows, columns, data }: Matrix): tf.Tensor {
  const words = new Int32Array(data.buffer as ArrayBuffer, data.byteOffset, data.length * 2);
  return backend.raw('Bitcast', [tf.tensor(words, [rows, columns, 2], 'int32')], { type: { type: DataType.float64 } })[0]!;
}

function download(backend: TensorFlowBackend, x: tf.Tensor): Float64Array {
  const words = backend.raw('Bitcast', [x], { type: { type: DataType.int32 } })[0]!.dataSync() as Int32Array;
  return new Float64Array(words.slice().buffer);
}

function isWellConditioned(pivots: Float64Array, a: Matrix): boolean {
  const floor = pivotFloor(a);
  return pivots.every((pivot) => pivot > floor);
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
