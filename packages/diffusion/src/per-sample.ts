/** Shapes of batches: what belongs to a sample, and the channels of a model's output that are its prediction. */
import { mean, ShapeError } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';

/** Means over everything but the batch, `[B]`. */
export function meanPerSample(x: tf.Tensor): tf.Tensor {
  return mean(tf.reshape(x, [x.shape[0], -1]), -1); // [B, ...] to [B]
}

/**
 * `[B]` as `[B, 1, ...]` of the rank of `x`.
 * @throws ShapeError unless there is one number per sample
 */
export function perSample(where: string, t: tf.Tensor, x: tf.Tensor): tf.Tensor {
  if (t.rank !== 1 || t.shape[0] !== x.shape[0]) throw new ShapeError(where, `t [${x.shape[0]}]`, t.shape);
  return tf.reshape(t, [t.shape[0], ...Array<number>(x.rank - 1).fill(1)]); // [B] to [B, 1, ...]
}

/**
 * The prediction in a model's output for `x`: all of it, or the first half of twice the channels (axis 1), as `x` itself or a new tensor.
 * @throws ShapeError if it has another shape
 */
export function firstChannels(where: string, output: tf.Tensor, x: tf.Tensor): tf.Tensor {
  if (tf.util.arraysEqual(output.shape, x.shape)) return output;
  const doubled = x.shape.map((size, axis) => (axis === 1 ? 2 * size : size));
  if (x.rank < 2 || !tf.util.arraysEqual(output.shape, doubled)) throw new ShapeError(where, `[${x.shape}] or [${doubled}]`, output.shape);
  return tf.split(output, 2, 1)[0]; // [B, 2C, ...] to [B, C, ...]
}
