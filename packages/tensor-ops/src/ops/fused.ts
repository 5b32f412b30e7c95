import type * as tf from '@tensorflow/tfjs-core';
import { DataType, type ElementwiseChain, tensorFlowBackend } from '../tensorflow-backend.js';

/**
 * `compute(...inputs)`, for bfloat16 inside a compiled step on a CPU as one kernel, which XLA makes of the chain: every input is read once
 * and every result written once, where separate ops widen each input and pass all intermediate results through memory. Elsewhere the ops
 * run one by one; so they do in float32, where whole steps gained nothing from kernels.
 *
 * The kernel is made anew for each shape that occurs (0.02 to 0.5 s), so shapes must not change with the data. Rounding may differ from
 * that of separate ops in the last bit.
 *
 * @param compute a function of the module (it is known by its identity), without gradients, that captures no tensors
 * @param inputs of one shape; off the gradient tape
 */
export function fused(compute: ElementwiseChain, inputs: readonly tf.Tensor[]): tf.Tensor[] {
  const backend = tensorFlowBackend();
  if (backend === undefined || inputs.every((x) => backend.dtypeOf(x) === DataType.float32)) return compute(...inputs);
  return backend.fused(compute, inputs);
}
