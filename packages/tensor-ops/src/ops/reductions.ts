/** Sums, means, broadcasts and cumulative sums whose gradients create nothing on the host and are right on every axis. */
import * as tf from '@tensorflow/tfjs-core';
import { tensorFlowBackend } from '../tensorflow-backend.js';
import { customGradient } from './custom-gradient.js';

function axesOf(x: tf.Tensor, axis: number | number[] | undefined): number[] {
  return axis === undefined ? x.shape.map((_, i) => i) : tf.util.parseAxisParam(axis, x.shape);
}

/** Expands `x` to `shape` off the tape. */
function expand(x: tf.Tensor, shape: readonly number[]): tf.Tensor {
  const backend = tensorFlowBackend();
  if (backend !== undefined) return backend.raw('BroadcastTo', [x, tf.tensor1d(shape as number[], 'int32')])[0];
  return tf.add(x, tf.fill(shape as number[], 0));
}

/** `x` summed over `axis` (default all), as `tf.sum`, with a cheap gradient. */
export function sum(x: tf.Tensor, axis?: number | number[], keepDims = false): tf.Tensor {
  const axes = axesOf(x, axis);
  const kept = x.shape.map((d, i) => (axes.includes(i) ? 1 : d));
  return customGradient(
    [x],
    ([x]) => ({ value: tf.sum(x, axes, keepDims), saved: [] }),
    (dy) => [expand(tf.reshape(dy, kept), x.shape)],
  );
}

/** The mean of `x` over `axis` (default all), as `tf.mean`, with a cheap gradient. */
export function mean(x: tf.Tensor, axis?: number | number[], keepDims = false): tf.Tensor {
  const axes = axesOf(x, axis);
  const kept = x.shape.map((d, i) => (axes.includes(i) ? 1 : d));
  const count = axes.reduce((n, a) => n * x.shape[a], 1);
  return customGradient(
    [x],
    ([x]) => ({ value: tf.mean(x, axes, keepDims), saved: [] }),
    (dy) => [expand(tf.mul(tf.reshape(dy, kept), 1 / count), x.shape)],
  );
}

/** Broadcasts `x` to `shape` by numpy's rules; the gradient sums over what was broadcast. */
export function broadcastTo(x: tf.Tensor, shape: readonly number[]): tf.Tensor {
  const padded = [...new Array<number>(shape.length - x.rank).fill(1), ...x.shape];
  const axes = padded.flatMap((d, i) => (d === 1 && shape[i] !== 1 ? [i] : []));
  return customGradient(
    [x],
    ([x]) => ({ value: expand(tf.reshape(x, padded), shape), saved: [] }),
    (dy) => [tf.reshape(tf.sum(dy, axes, true), x.shape)],
  );
}

/** Cumulative sum along any axis; tfjs' own gradient is wrong off the last axis. */
export function cumsum(x: tf.Tensor, axis: number, options: { exclusive?: boolean; reverse?: boolean } = {}): tf.Tensor {
  const { exclusive = false, reverse = false } = options;
  const at = axis < 0 ? axis + x.rank : axis;
  const along = (y: tf.Tensor, backwards: boolean): tf.Tensor => tf.cumsum(y, at, exclusive, backwards);
  return customGradient(
    [x],
    ([x]) => ({ value: along(x, reverse), saved: [] }),
    (dy) => [along(dy, !reverse)],
  );
}
