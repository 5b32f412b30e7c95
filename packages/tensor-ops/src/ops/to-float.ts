import * as tf from '@tensorflow/tfjs-core';

/**
 * float32 of an int32 or bool tensor.
 *
 * The WebGPU backend's `tf.cast` only changes the label (tfjs 4.22), and its kernels that move values without arithmetic, such as
 * transpose and every sum over another axis than the last, then fail to compile. A product with one converts.
 *
 * @param x of any shape
 * @returns the same shape
 */
export function toFloat(x: tf.Tensor): tf.Tensor {
  const labelled = tf.cast(x, 'float32');
  return tf.getBackend() === 'webgpu' ? tf.mul(labelled, 1) : labelled;
}
