/**
 * Feature maps that stay in bfloat16 between the layers of a network: half of the bytes to move, where moving them costs as much as the
 * products. For inference: these functions have no gradients. Convolutions, group norms and `silu` take such maps and return such maps.
 */
import * as tf from '@tensorflow/tfjs-core';
import { DataType, tensorFlowBackend } from '../tensorflow-backend.js';
import { castTo, stack, toF32 } from './raw-math.js';

/** Whether `x` is a raw bfloat16 tensor of the TensorFlow runtime. */
export const isRounded = (x: tf.Tensor): boolean => tensorFlowBackend()?.dtypeOf(x) === DataType.bfloat16;

/** `x` in bfloat16; unchanged on other backends than the TensorFlow runtime. */
export function roundMaps(x: tf.Tensor): tf.Tensor {
  const backend = tensorFlowBackend();
  return backend === undefined ? x : castTo(backend, x, DataType.bfloat16);
}

/** `x` in float32, whatever it is in. */
export const unroundMaps = (x: tf.Tensor): tf.Tensor => (isRounded(x) ? toF32(tensorFlowBackend()!, x) : x);

/** Tensors of one shape and type along a new axis, whatever they are in. */
export const stackMaps = (parts: tf.Tensor[], axis: number): tf.Tensor =>
  isRounded(parts[0]) ? stack(tensorFlowBackend()!, parts, axis) : tf.stack(parts, axis);
