import * as tf from '@tensorflow/tfjs-core';
import { toFloat } from './to-float.js';

/** One-hot float32 rows `[..., size]` of int32 `indices`; the wasm backend's `tf.oneHot` gives wrong values for dtype float32. */
export function oneHot(indices: tf.Tensor, size: number): tf.Tensor {
  // tfjs refuses a single class.
  if (size === 1) return tf.expandDims(toFloat(tf.equal(indices, tf.scalar(0, 'int32'))), -1);
  return toFloat(tf.oneHot(tf.cast(indices, 'int32'), size, 1, 0, 'int32'));
}
