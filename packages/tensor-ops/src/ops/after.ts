import type * as tf from '@tensorflow/tfjs-core';
import { tensorFlowBackend } from '../tensorflow-backend.js';

/**
 * `x`, from which a compiled step computes nothing before `before` is there. For what a backward pass computes again from what it
 * kept, with the incoming gradient as `before`: otherwise TensorFlow sees the same computation twice, does it once in the forward
 * pass, and keeps its results, which is what was to be avoided. Eager ops run in program order anyway.
 */
export function after(x: tf.Tensor, before: tf.Tensor): tf.Tensor {
  const backend = tensorFlowBackend();
  return backend?.recording === true ? backend.identityAfter(x, before) : x;
}
