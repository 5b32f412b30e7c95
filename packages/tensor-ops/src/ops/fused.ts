import type * as tf from '@tensorflow/tfjs-core';
import { type ElementwiseChain, tensorFlowBackend } from '../tensorflow-backend.js';

/**
 * `compute(...inputs)`, inside a compiled step on a CPU as one kernel, which XLA makes of the chain: every input is read once and every
 * result written once, where separate ops pass all intermediate results through memory. Elsewhere the ops run one by one.
 *
 * The kernel is made anew for each shape that occurs (0.02 to 0.5 s), so shapes must not change with the data. Rounding may differ from
 * that of separate ops in the last bit.
 *
 * @param compute a function of the module (it is known by its identity), without gradients, that captures no tensors
 * @param inputs of one shape; off the gradient tape
 */
export function fused(compute: ElementwiseChain, inputs: readonly tf.Tensor[]): tf.Tensor[] {
  return tensorFlowBackend()?.fused(compute, inputs) ?? compute(...inputs);
}
