/**
 * Feature maps that stay in bfloat16 between the layers of a network: half of the bytes to move, where moving them costs as much as the
 * products. For inference: these functions have no gradients. Convolutions, group norms and `silu` take such maps and return such maps.
 */
import * as tf from '@tensorflow/tfjs-core';
import { DataType, tensorFlowBackend } from '../tensorflow-backend.js';
import { castTo, stack } from './raw-math.js';

/** Whether `x` is a raw bfloat16 tensor of the TensorFlow runtime. */
export const isRounded = (x: tf.Tensor): boolean => tensorFlowBackend()?.dtypeOf(x) === DataType.bfloat16;

/** `x` in bfloat16; unchanged on other backends than the TensorFlow runtime. */
export function roundMaps(x: tf.Tensor): tf.Tensor {
  const backend = tensorFlowBackend();
  return backend === undefined ? x : castTo(backend, x, DataType.bfloat16);
}

/** `x` with zeros before and after the entries of every axis, whatever it is in. */
export const padMaps = (x: tf.Tensor, zeros: readonly (readonly [number, number])[]): tf.Tensor =>
  isRounded(x)
    ? tensorFlowBackend()!.raw('Pad', [x, tf.tensor2d(zeros.flat(), [zeros.length, 2], 'int32')])[0]
    : tf.pad(x, zeros as [number, number][]);

/** Tensors of one shape and type along a new axis, whatever they are in. */
export const stackMaps = (parts: tf.Tensor[], axis: number): tf.Tensor =>
  isRounded(parts[0]) ? stack(tensorFlowBackend()!, parts, axis) : tf.stack(parts, axis);
