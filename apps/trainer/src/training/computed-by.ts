/** What a run was computed by, for its record: other kernels and precisions give other bits. */
import { type Computes, tensorFlowBackend } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';

export type ComputedBy = { backend: string } & Computes;

/** Of the current backend. */
export const computedBy = (): ComputedBy => ({
  backend: tf.getBackend(),
  ...(tensorFlowBackend()?.computes ?? { version: tf.version_core, f32: 'float32', bf16: 'float32', deterministic: true }),
});
