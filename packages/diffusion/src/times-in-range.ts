/** Times outside of a schedule are refused where they can be seen. */
import { ArgumentError, tensorFlowBackend } from '@dit-moe/tensor-ops';
import type * as tf from '@tensorflow/tfjs-core';

/** Tensors that were looked at, as one tensor of times is used for many tables. */
const checked = new WeakMap<tf.Tensor, number>();

/**
 * Checks that all times are in [0, last], by one read per tensor. While a compiled step is recorded nothing can be read: there,
 * TensorFlow's own gather refuses indices outside of a table when the step runs.
 * @throws ArgumentError naming the first time that is not
 */
export function checkTimesInRange(where: string, t: tf.Tensor, last: number): void {
  if (checked.get(t) === last || tensorFlowBackend()?.recording) return;
  const outside = t.dataSync().find((time) => !(time >= 0 && time <= last));
  if (outside !== undefined) throw new ArgumentError(where, `times in [0, ${last}]`, outside);
  checked.set(t, last);
}
