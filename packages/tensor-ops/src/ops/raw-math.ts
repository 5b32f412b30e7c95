/** Short names for the TensorFlow ops that several of our ops share. All run off the gradient tape. */
import * as tf from '@tensorflow/tfjs-core';
import { DataType, type TensorFlowBackend } from '../tensorflow-backend.js';
import { after } from './after.js';

/**
 * Precision of matrix products. `bf16` allows to multiply bfloat16 copies, with sums and results in float32; where float32 is
 * faster (other backends, processors without fast bfloat16 units) it is used instead.
 */
export type Precision = 'f32' | 'bf16';

/**
 * Precision of a model that is not trained. `int8` holds the large matrices as integers of 8 bits and multiplies them as such, see
 * `int8Refusal`; all else is float32.
 */
export type InferencePrecision = Precision | 'int8';

/** Casts to `type` unless the tensor has it; with `before` not until that is there, see {@link after}. */
export function castTo(backend: TensorFlowBackend, x: tf.Tensor, type: DataType, before?: tf.Tensor): tf.Tensor {
  if (backend.dtypeOf(x) === type) return x;
  return backend.raw('Cast', [before === undefined ? x : after(x, before)], { DstT: { type } })[0];
}

export const toF32 = (backend: TensorFlowBackend, x: tf.Tensor): tf.Tensor => castTo(backend, x, DataType.float32);

/** `a b` for matrices, either transposed on request; the result has the operands' type. */
export function matMul(backend: TensorFlowBackend, a: tf.Tensor, b: tf.Tensor, transposeA = false, transposeB = false): tf.Tensor {
  return backend.raw('MatMul', [a, b], { transpose_a: { bool: transposeA }, transpose_b: { bool: transposeB } })[0];
}

/** Batched `a b` over the leading dimensions. */
export function batchMatMul(backend: TensorFlowBackend, a: tf.Tensor, b: tf.Tensor, transposeA = false, transposeB = false): tf.Tensor {
  return backend.raw('BatchMatMulV2', [a, b], { adj_x: { bool: transposeA }, adj_y: { bool: transposeB } })[0];
}

/** Reshapes with a constant shape; one entry may be -1. */
export function reshape(backend: TensorFlowBackend, x: tf.Tensor, shape: readonly number[]): tf.Tensor {
  return backend.raw('Reshape', [x, tf.tensor1d(shape as number[], 'int32')])[0];
}

/** Rows of `x` at `indices` (int32), without reading the indices to the host. */
export function gather(backend: TensorFlowBackend, x: tf.Tensor, indices: tf.Tensor): tf.Tensor {
  return backend.raw('GatherV2', [x, indices, tf.scalar(0, 'int32')])[0];
}

/** Joins `parts` along `axis`. */
export function concat(backend: TensorFlowBackend, parts: readonly tf.Tensor[], axis: number): tf.Tensor {
  return backend.raw('ConcatV2', [...parts, tf.scalar(axis, 'int32')], {
    N: { int: parts.length },
    T: { type: backend.dtypeOf(parts[0]) },
    Tidx: { type: DataType.int32 },
  })[0];
}

/** Entries of an axis; no copies on the first one. */
export function unstack(backend: TensorFlowBackend, x: tf.Tensor, axis = 0): tf.Tensor[] {
  const count = x.shape[axis];
  return backend.raw('Unpack', [x], { num: { int: count }, axis: { int: axis } }, count);
}

/** Tensors of one shape and type along a new axis. */
export function stack(backend: TensorFlowBackend, parts: readonly tf.Tensor[], axis = 0): tf.Tensor {
  return backend.raw('Pack', parts, { N: { int: parts.length }, T: { type: backend.dtypeOf(parts[0]) }, axis: { int: axis } })[0];
}

/** Whether a product with weight `w` is computed in bfloat16: asked for or stored so, and the processor is good at it. */
export function usesBf16(backend: TensorFlowBackend, w: tf.Tensor, precision: Precision | undefined): boolean {
  return backend.bf16Products && (precision === 'bf16' || backend.dtypeOf(w) === DataType.bfloat16);
}

/**
 * Casts an operand of a product to what {@link usesBf16} found. For a weight, `before` is what it is multiplied with: a compiled step
 * would cast all weights at its start, and hold all of them twice.
 */
export function toProductType(backend: TensorFlowBackend, x: tf.Tensor, low: boolean, before?: tf.Tensor): tf.Tensor {
  return castTo(backend, x, low ? DataType.bfloat16 : DataType.float32, before);
}
