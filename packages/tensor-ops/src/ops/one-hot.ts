import * as tf from '@tensorflow/tfjs-core';
import { toFloat } from './to-float.js';

/** One-hot float32 rows `[..., size]` of int32 `indices`; the wasm backend's `tf.oneHot` gives wrong values for dtype float32. */
export function oneHot(indices: tf.Tensor, size: number): tf.Tensor {
  // tfjs refuses a single class. GPUs compare int32 in host memory, float32 where it lies.
  if (size === 1) return tf.expandDims(toFloat(tf.equal(toFloat(indices), 0)), -1);
  return toFloat(tf.oneHot(tf.cast(indices, 'int32'), size, 1, 0, 'int32'));
}
