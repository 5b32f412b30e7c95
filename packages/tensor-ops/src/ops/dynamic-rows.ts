/**
 * Rows whose number depends on the data, off the gradient tape: parts of functions with a gradient of their own.
 *
 * On the TensorFlow runtime nothing is read to the host and a compiled step keeps such a number open, so that one recording serves every
 * batch; shapes that tfjs sees are then those of the recording. Elsewhere the numbers are read to the host. Tensors may be of any type,
 * raw bfloat16 included; parts of one call are of the same.
 */
import * as tf from '@tensorflow/tfjs-core';
import { type TensorFlowBackend, tensorFlowBackend } from '../tensorflow-backend.js';
import { concat, gather, reshape, stack, unstack } from './raw-math.js';
import { toFloat } from './to-float.js';

/** Rows of `x` at int32 `indices`. */
export function takeRows(x: tf.Tensor, indices: tf.Tensor): tf.Tensor {
  const backend = tensorFlowBackend();
  return backend === undefined ? tf.gather(x, indices as tf.Tensor1D) : gather(backend, x, indices);
}

/** The first `count` rows of `x`; `count` is an int32 scalar. */
export function firstRows(x: tf.Tensor, count: tf.Tensor): tf.Tensor {
  const backend = tensorFlowBackend();
  if (backend === undefined) return tf.slice(x, 0, numberOf(count));
  return slice(backend, x, [tf.reshape(count, [1]), ...sizesAfter(x, 1)]);
}

/** The first `count` columns of `x` `[N, ...]`; `count` is an int32 scalar. */
export function firstColumns(x: tf.Tensor, count: tf.Tensor): tf.Tensor {
  const backend = tensorFlowBackend();
  if (backend === undefined) return tf.slice(x, [0, 0], [x.shape[0], numberOf(count)]);
  return slice(backend, x, [tf.tensor1d([x.shape[0]], 'int32'), tf.reshape(count, [1]), ...sizesAfter(x, 2)]);
}

/** How many rows `x` has: float32 scalar. */
export function rowCount(x: tf.Tensor): tf.Tensor {
  const backend = tensorFlowBackend();
  if (backend === undefined) return tf.scalar(x.shape[0]);
  // GPUs take the size of float32 where it lies, of int32 in host memory.
  const entries = tf.cast(backend.raw('Size', [toFloat(x)])[0], 'float32');
  return x.rank === 1 ? entries : tf.div(entries, tf.util.sizeFromShape(x.shape.slice(1)));
}

/** `0, 1, ... count - 1`, float32; `count` is a number or a float32 scalar. */
export function rangeTo(count: tf.Tensor | number): tf.Tensor {
  if (typeof count === 'number') return tf.range(0, count);
  const backend = tensorFlowBackend();
  return backend === undefined ? tf.range(0, numberOf(count)) : backend.raw('Range', [tf.scalar(0), count, tf.scalar(1)])[0];
}

/** Another shape; one of its entries may be -1, for what depends on the data. */
export function reshapeRows(x: tf.Tensor, shape: readonly number[]): tf.Tensor {
  const backend = tensorFlowBackend();
  return backend === undefined ? tf.reshape(x, [...shape]) : reshape(backend, x, shape);
}

/** Parts behind one another. */
export function joinRows(parts: readonly tf.Tensor[]): tf.Tensor {
  if (parts.length === 1) return parts[0];
  const backend = tensorFlowBackend();
  return backend === undefined ? tf.concat([...parts], 0) : concat(backend, parts, 0);
}

/** Parts of one shape along a new axis. */
export function stackRows(parts: readonly tf.Tensor[], axis = 0): tf.Tensor {
  const backend = tensorFlowBackend();
  return backend === undefined ? tf.stack([...parts], axis) : stack(backend, parts, axis);
}

/** The entries of an axis of fixed size. */
export function unstackRows(x: tf.Tensor, axis = 0): tf.Tensor[] {
  const backend = tensorFlowBackend();
  return backend === undefined ? tf.unstack(x, axis) : unstack(backend, x, axis);
}

/** How rows are divided; see {@link partsOf}. */
export interface RowParts {
  /** Which parts there are: all on the TensorFlow runtime, elsewhere those with rows. */
  readonly present: readonly number[];
  readonly sizes: tf.Tensor | number[];
}

/**
 * How rows are to be divided.
 *
 * @param counts rows of each part, int32 `[E]`
 */
export function partsOf(counts: tf.Tensor): RowParts {
  if (tensorFlowBackend() !== undefined) return { present: Array.from({ length: counts.size }, (_, part) => part), sizes: counts };
  const filled = Array.from(counts.dataSync(), (size, part) => ({ size, part })).filter(({ size }) => size > 0);
  return { present: filled.map(({ part }) => part), sizes: filled.map(({ size }) => size) };
}

/** The parts of `x` that are present. */
export function splitRows(x: tf.Tensor, { present, sizes }: RowParts): tf.Tensor[] {
  if (Array.isArray(sizes)) return sizes.length === 0 ? [] : tf.split(x, sizes, 0);
  const attributes = { num_split: { int: present.length } };
  return tensorFlowBackend()!.raw('SplitV', [x, sizes, tf.scalar(0, 'int32')], attributes, present.length);
}

const numberOf = (count: tf.Tensor): number => count.dataSync()[0];

/** Sizes of a slice that takes all of the axes from `axis` on. */
const sizesAfter = (x: tf.Tensor, axis: number): tf.Tensor[] =>
  x.rank === axis ? [] : [tf.tensor1d(new Array<number>(x.rank - axis).fill(-1), 'int32')];

/** From the first entry of every axis. */
function slice(backend: TensorFlowBackend, x: tf.Tensor, sizes: readonly tf.Tensor[]): tf.Tensor {
  const begin = tf.tensor1d(new Array<number>(x.rank).fill(0), 'int32');
  return backend.raw('Slice', [x, begin, sizes.length === 1 ? sizes[0] : concat(backend, sizes, 0)])[0];
}
