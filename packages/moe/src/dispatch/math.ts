/**
 * Tensor operations of dispatch and experts, off the gradient tape, for the TensorFlow runtime and for every other backend.
 *
 * On the runtime nothing is read to the host and no size that depends on data is baked into a recorded step, so only raw ops and
 * elementwise ones touch such tensors. Matrices may be bfloat16 there.
 */
import { DataType, type Precision, type TensorFlowBackend, tensorFlowBackend, usesBf16 } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';

export interface DispatchMath {
  /** Whether this is the TensorFlow runtime: sizes may be tensors. */
  readonly native: boolean;
  /** Whether products are in bfloat16. */
  readonly low: boolean;
  /** Rounds to the precision of products. */
  round(x: tf.Tensor): tf.Tensor;
  /** `x` as float32. */
  widen(x: tf.Tensor): tf.Tensor;
  /** Rows of `x` at int32 `indices`. */
  take(x: tf.Tensor, indices: tf.Tensor): tf.Tensor;
  /** `x` in the type of `other`. */
  like(x: tf.Tensor, other: tf.Tensor): tf.Tensor;
  /** Joins along the first axis. */
  join(parts: readonly tf.Tensor[]): tf.Tensor;
  /**
   * Matrix product, or a batch of them for operands of higher rank; in the operands' type. On the runtime a batch dimension of 1 is
   * broadcast.
   */
  product(a: tf.Tensor, b: tf.Tensor, transposeA?: boolean, transposeB?: boolean): tf.Tensor;
  /** A shape with at most one -1. */
  reshape(x: tf.Tensor, shape: readonly number[]): tf.Tensor;
  /** Entries of an axis (default the first). */
  unstack(x: tf.Tensor, axis?: number): tf.Tensor[];
  stack(parts: readonly tf.Tensor[], axis?: number): tf.Tensor;
  /** What the sizes of slices should be multiples of, for `load` rows per expert on average. */
  rowMultiple(load: number): number;
  /** Which experts have a slice. Off the runtime their sizes are read to the host and those without rows are left out. */
  sliceSizes(counts: tf.Tensor): SliceSizes;
  /** Slices of the first axis. */
  split(x: tf.Tensor, sizes: SliceSizes): tf.Tensor[];
}

/** Sizes of the slices: a tensor on the TensorFlow runtime, numbers elsewhere. */
export interface SliceSizes {
  experts: number[];
  sizes: tf.Tensor | number[];
}

/** The operations for the current backend; in bfloat16 if asked for, or if `weight` is stored so, and the processor is good at it. */
export function dispatchMath(weight: tf.Tensor, precision: Precision | undefined): DispatchMath {
  const backend = tensorFlowBackend();
  if (backend === undefined) return portable;
  return native(backend, usesBf16(backend, weight, precision));
}

function native(backend: TensorFlowBackend, low: boolean): DispatchMath {
  const axis = (a: number): tf.Tensor => tf.scalar(a, 'int32');
  const cast = (x: tf.Tensor, type: DataType): tf.Tensor =>
    backend.dtypeOf(x) === type ? x : backend.raw('Cast', [x], { DstT: { type } })[0];
  const concat = (parts: readonly tf.Tensor[], along: number): tf.Tensor =>
    parts.length === 1
      ? parts[0]
      : backend.raw('ConcatV2', [...parts, axis(along)], {
          N: { int: parts.length },
          T: { type: backend.dtypeOf(parts[0]) },
          Tidx: { type: DataType.int32 },
        })[0];
  return {
    native: true,
    low,
    round: (x) => cast(x, low ? DataType.bfloat16 : DataType.float32),
    widen: (x) => cast(x, DataType.float32),
    take: (x, indices) => backend.raw('GatherV2', [x, indices, axis(0)])[0],
    like: (x, other) => cast(x, backend.dtypeOf(other)),
    join: (parts) => concat(parts, 0),
    product(a, b, transposeA = false, transposeB = false) {
      return a.rank === 2
        ? backend.raw('MatMul', [a, b], { transpose_a: { bool: transposeA }, transpose_b: { bool: transposeB } })[0]
        : backend.raw('BatchMatMulV2', [a, b], { adj_x: { bool: transposeA }, adj_y: { bool: transposeB } })[0];
    },
    reshape: (x, shape) => backend.raw('Reshape', [x, tf.tensor1d(shape as number[], 'int32')])[0],
    unstack: (x, along = 0) => backend.raw('Unpack', [x], { num: { int: x.shape[along] }, axis: { int: along } }, x.shape[along]),
    stack: (parts, along = 0) =>
      backend.raw('Pack', parts, { N: { int: parts.length }, T: { type: backend.dtypeOf(parts[0]) }, axis: { int: along } })[0],
    // oneDNN generates code for every size of a bfloat16 product that it has not met (0.2 to 0.7 ms), and keeps 1,024 of them. With a
    // 64th of the load few sizes occur, at 1.6 % more rows.
    rowMultiple: (load) => (low ? 2 ** Math.max(0, Math.floor(Math.log2(load / 64))) : 1),
    sliceSizes: (counts) => ({ experts: Array.from({ length: counts.size }, (_, e) => e), sizes: counts }),
    split: (x, { experts, sizes }) =>
      backend.raw('SplitV', [x, sizes as tf.Tensor, axis(0)], { num_split: { int: experts.length } }, experts.length),
  };
}

const portable: DispatchMath = {
  native: false,
  low: false,
  round: (x) => x,
  widen: (x) => x,
  take: (x, indices) => tf.gather(x, indices as tf.Tensor1D),
  like: (x) => x,
  join: (parts) => tf.concat(parts as tf.Tensor[], 0),
  product(a, b, transposeA = false, transposeB = false) {
    // Explicit transposes: the wasm backend's product with a transposed operand is 10 to 50 times slower.
    const turned = (x: tf.Tensor, transpose: boolean) => {
      const axes = x.shape.map((_, i) => i);
      return (transpose ? tf.transpose(x, [...axes.slice(0, -2), x.rank - 1, x.rank - 2]) : x) as tf.Tensor2D;
    };
    return tf.matMul(turned(a, transposeA), turned(b, transposeB));
  },
  reshape: (x, shape) => tf.reshape(x, shape as number[]),
  unstack: (x, axis = 0) => tf.unstack(x, axis),
  stack: (parts, axis = 0) => tf.stack(parts as tf.Tensor[], axis),
  rowMultiple: () => 1,
  sliceSizes(counts) {
    const filled = Array.from(counts.dataSync(), (size, expert) => ({ size, expert })).filter(({ size }) => size > 0);
    return { experts: filled.map(({ expert }) => expert), sizes: filled.map(({ size }) => size) };
  },
  split: (x, { sizes }) => ((sizes as number[]).length === 0 ? [] : tf.split(x, sizes as number[], 0)),
};
