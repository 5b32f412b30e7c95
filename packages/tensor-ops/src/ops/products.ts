/** Products of matrices off the gradient tape, in float32 or bfloat16, for functions with a gradient of their own. */
import * as tf from '@tensorflow/tfjs-core';
import { DataType, tensorFlowBackend } from '../tensorflow-backend.js';
import { batchMatMul, castTo, matMul, type Precision, toProductType, usesBf16 } from './raw-math.js';

/** Products of one precision. */
export interface Products {
  /** Whether they are in bfloat16. */
  readonly low: boolean;
  /** Rounds an operand; a weight in a compiled step not until `before` is there, which it is multiplied with, see `toProductType`. */
  round(x: tf.Tensor, before?: tf.Tensor): tf.Tensor;
  /** `a b` for matrices, or for batches of them of equal rank; either transposed on request. In the operands' type. */
  product(a: tf.Tensor, b: tf.Tensor, transposeA?: boolean, transposeB?: boolean): tf.Tensor;
}

/** Products with a weight on the current backend: in bfloat16 if asked for, or if it is stored so, and the processor is good at it. */
export function products(weight: tf.Tensor, precision: Precision | undefined): Products {
  const backend = tensorFlowBackend();
  if (backend === undefined) return portable;
  const low = usesBf16(backend, weight, precision);
  return {
    low,
    round: (x, before) => toProductType(backend, x, low, before),
    product: (a, b, transposeA, transposeB) => (a.rank === 2 ? matMul : batchMatMul)(backend, a, b, transposeA, transposeB),
  };
}

const portable: Products = {
  low: false,
  round: (x) => x,
  // Explicit transposes: the wasm backend's product with a transposed operand is 10 to 50 times slower.
  product: (a, b, transposeA = false, transposeB = false) =>
    tf.matMul((transposeA ? transposed(a) : a) as tf.Tensor2D, (transposeB ? transposed(b) : b) as tf.Tensor2D),
};

function transposed(x: tf.Tensor): tf.Tensor {
  const axes = x.shape.map((_, i) => i);
  return tf.transpose(x, [...axes.slice(0, -2), x.rank - 1, x.rank - 2]);
}

/** `x` in float32, whatever it is in. */
export function widen(x: tf.Tensor): tf.Tensor {
  const backend = tensorFlowBackend();
  return backend === undefined ? x : castTo(backend, x, DataType.float32);
}

/** `x` in the type of `other`. */
export function castLike(x: tf.Tensor, other: tf.Tensor): tf.Tensor {
  const backend = tensorFlowBackend();
  return backend === undefined ? x : castTo(backend, x, backend.dtypeOf(other));
}
