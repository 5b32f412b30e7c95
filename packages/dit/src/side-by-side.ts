/** Samples that do not depend on each other, in parts that a processor computes at the same time. */
import { tensorFlowBackend } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';

/**
 * Into how many parts samples are taken: two, from eight samples on four. It does not go by the cores of the machine, so that a training has the
 * same bits on any number of them.
 */
const partsOf = (samples: number): number => (samples < 8 ? Math.min(samples, 2) : 4);

/**
 * `compute` on parts of the samples in a recorded step on a processor; elsewhere on all of them.
 *
 * What follows one after another, such as attention, would use a single core where each op has one thread. To split each op instead costs
 * more: threads wait for each other in every one of them (docs/measurements/engine.md).
 *
 * @param tensors `[B, ...]` each, taken apart along the first axis
 * @returns results of `compute`, joined along it
 */
export function sideBySide(tensors: readonly tf.Tensor[], compute: (...own: tf.Tensor[]) => tf.Tensor[]): tf.Tensor[] {
  const samples = tensors[0].shape[0];
  const backend = tensorFlowBackend();
  const parts = backend?.recording === true && !backend.isUsingGpuDevice ? partsOf(samples) : 1;
  if (parts === 1) return compute(...tensors);
  const sizes = Array.from({ length: parts }, (_, i) => Math.floor(((i + 1) * samples) / parts) - Math.floor((i * samples) / parts));
  const split = tensors.map((x) => tf.split(x, sizes));
  const results = sizes.map((_, i) => compute(...split.map((own) => own[i])));
  return results[0].map((_, i) => tf.concat(results.map((result) => result[i])));
}
