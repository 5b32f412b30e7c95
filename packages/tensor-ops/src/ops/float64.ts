/**
 * Matrices in float64 on the TensorFlow runtime, from and to the host. TensorFlow.js has no type for them, so they go there and back as
 * pairs of int32; moving a matrix of 2048 x 2048 takes 10 to 20 ms each way.
 */
import * as tf from '@tensorflow/tfjs-core';
import { DataType, type TensorFlowBackend, tensorFlowBackend } from '../tensorflow-backend.js';
import { matMul } from './raw-math.js';

/** A row-major matrix on the host: `data` has `rows * columns` entries. */
export interface Float64Matrix {
  readonly rows: number;
  readonly columns: number;
  readonly data: Float64Array;
}

/** What the runtime computes in float64. Every result is on the host; no tensor is left. */
export interface Float64Runtime {
  /** `a b`, either of them transposed first (default neither). */
  multiply(a: Float64Matrix, b: Float64Matrix, transposed?: { a?: boolean; b?: boolean }): Float64Matrix;
  /** Lower triangular `L` with `a = L L^T` of a symmetric `a`, or `undefined` if it is not positive definite. */
  cholesky(a: Float64Matrix): Float64Matrix | undefined;
  /** Singular values of `a`, falling. */
  singularValues(a: Float64Matrix): Float64Array;
}

/** The float64 operations of the current backend; `undefined` unless it is the TensorFlow runtime. */
export function float64Runtime(): Float64Runtime | undefined {
  const backend = tensorFlowBackend();
  if (backend === undefined) return undefined;
  return {
    multiply: (a, b, transposed = {}) =>
      scoped(() => {
        const x = upload(backend, a);
        return download(backend, matMul(backend, x, a === b ? x : upload(backend, b), transposed.a, transposed.b));
      }),
    cholesky: (a) =>
      scoped(() => {
        try {
          const factor = download(backend, backend.raw('Cholesky', [upload(backend, a)])[0]);
          // On CPUs TensorFlow fills the factor with NaN then, on GPUs it throws.
          return Number.isNaN(factor.data.at(-1)) ? undefined : factor;
        } catch (error) {
          if (/decomposition was not successful/.test(String(error))) return undefined;
          throw error;
        }
      }),
    singularValues: (a) =>
      scoped(() => download(backend, backend.raw('Svd', [upload(backend, a)], { compute_uv: { bool: false } }, 3)[0]).data),
  };
}

function upload(backend: TensorFlowBackend, { rows, columns, data }: Float64Matrix): tf.Tensor {
  const words = new Int32Array(data.buffer, data.byteOffset, data.length * 2);
  return backend.raw('Bitcast', [tf.tensor(words, [rows, columns, 2], 'int32')], { type: { type: DataType.float64 } })[0];
}

/** A matrix, or a list as one row. */
function download(backend: TensorFlowBackend, x: tf.Tensor): Float64Matrix {
  const words = backend.raw('Bitcast', [x], { type: { type: DataType.int32 } })[0].dataSync() as Int32Array;
  const [rows, columns] = x.rank === 1 ? [1, x.shape[0]] : x.shape;
  return { rows, columns, data: new Float64Array(words.slice().buffer) };
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
