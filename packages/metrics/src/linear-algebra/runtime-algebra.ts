/** Float64 matrices on the TensorFlow runtime; tfjs has no type for them, so they go there and back as pairs of int32. */
import { DataType, type TensorFlowBackend } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import type { Algebra } from './algebra.js';
import { matrix } from './matrix.js';

export interface RuntimeAlgebra extends Algebra<tf.Tensor> {
  join(parts: readonly tf.Tensor[], axis: 0 | 1): tf.Tensor;
}

/** Tensors `[rows, columns]` of `backend`; to be used within `scope`. */
export function runtimeAlgebra(backend: TensorFlowBackend): RuntimeAlgebra {
  const numbers = (...values: number[]) => tf.tensor1d(values, 'int32');
  const algebra: RuntimeAlgebra = {
    upload({ rows, columns, data }) {
      const words = new Int32Array(data.buffer as ArrayBuffer, data.byteOffset, data.length * 2);
      return backend.raw('Bitcast', [tf.tensor(words, [rows, columns, 2], 'int32')], { type: { type: DataType.float64 } })[0];
    },
    download(x) {
      const words = backend.raw('Bitcast', [x], { type: { type: DataType.int32 } })[0].dataSync() as Int32Array;
      return matrix(x.shape[0], x.shape[1]!, new Float64Array(words.slice().buffer));
    },
    multiply: (x, y, { a = false, b = false } = {}) =>
      backend.raw('MatMul', [x, y], { transpose_a: { bool: a }, transpose_b: { bool: b } })[0],
    subtract: (a, b) => backend.raw('Sub', [a, b])[0],
    join: (parts, axis) =>
      parts.length === 1
        ? parts[0]
        : backend.raw('ConcatV2', [...parts, tf.scalar(axis, 'int32')], {
            N: { int: parts.length },
            T: { type: DataType.float64 },
            Tidx: { type: DataType.int32 },
          })[0],
    beside: (parts) => algebra.join(parts, 1),
    part: (x, row, column, rows, columns) => backend.raw('Slice', [x, numbers(row, column), numbers(rows, columns)])[0],
    shrink(a, x, y, from) {
      const rows = a.shape[0] - from;
      const lower = (m: tf.Tensor) => algebra.part(m, from, 0, rows, m.shape[1]!);
      return algebra.subtract(algebra.part(a, from, from, rows, rows), algebra.multiply(lower(x), lower(y), { b: true }));
    },
    qr(a) {
      const [q, r] = backend.raw('Qr', [a], { full_matrices: { bool: false } }, 2);
      return { q: q, r: algebra.download(r) };
    },
    pad: (a, above, below) => backend.raw('Pad', [a, tf.tensor2d([above, below, 0, 0], [2, 2], 'int32')])[0],
    scope: (work) => tf.tidy(work),
    free: (x) => x.dispose(),
  };
  return algebra;
}
