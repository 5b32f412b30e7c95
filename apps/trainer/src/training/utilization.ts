/** How much of what the device could do a run does: model FLOPs utilization (MFU), as PaLM's paper (Chowdhery et al. 2022, appendix B) counts it. */
import { type DitConfig, describeModel } from '@dit-moe/dit';
import { linear, tensorFlowBackend } from '@dit-moe/tensor-ops';
import { gpuPeak } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs-core';
import type { TrainConfig } from '../config/schema.js';

/** Edge of the product that a processor's peak is measured by, and how often. */
const SIZE = 512;
const TRIALS = 4;

/**
 * Floating-point operations of an image in a step, as far as the model needs them: two per multiply-accumulate, backward twice forward. What
 * is computed again to save memory does not count.
 */
export const modelFlops = (model: DitConfig): number => 2e9 * 3 * describeModel(model).gmac.total;

/**
 * FLOP/s at most: of a GPU by its data sheet, of a processor as a product of this precision reaches them now. `undefined` without the TensorFlow
 * runtime, and for a GPU that is not in the table.
 */
export function peakFlops({ precision }: Pick<TrainConfig, 'precision'>): number | undefined {
  const backend = tensorFlowBackend();
  if (backend === undefined) return undefined;
  const { computes } = backend;
  if (!backend.isUsingGpuDevice) return measuredPeak(precision);
  const peak = computes.gpu === undefined ? undefined : gpuPeak(computes.gpu)?.[computes[precision]];
  return peak === undefined ? undefined : 1e12 * peak;
}

function measuredPeak(precision: TrainConfig['precision']): number {
  return tf.tidy(() => {
    const x = tf.ones([SIZE, SIZE]);
    let best = Number.POSITIVE_INFINITY;
    for (let trial = 0; trial < TRIALS; trial++) {
      const start = performance.now();
      linear(x, x, undefined, { precision }).dispose();
      best = Math.min(best, (performance.now() - start) / 1000);
    }
    return (2 * SIZE ** 3) / best;
  });
}
