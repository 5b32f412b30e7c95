/** What a run costs beside memory: arithmetic, time on an A100, files. */
import type { TrainConfig } from '../config/schema.js';

/** A100 for comparison: dense peak in TFLOP/s by precision (f32 as TF32), and the share that is assumed to be reached. */
export const A100 = { f32: 156, bf16: 312, share: 0.4 };

/**
 * Floating-point operations of one optimizer step, forward and backward.
 * @param gmac of one image, forward, in 1e9 multiply-accumulates
 */
export const flopsPerStep = ({ batchSize, recompute }: TrainConfig, gmac: number): number =>
  // Two operations per multiply-accumulate; backward is twice forward, recomputation one more forward.
  2e9 * gmac * batchSize * (recompute ? 4 : 3);

/** Seconds of all steps on one A100, without previews and metrics, if a step reaches the assumed share of its peak. */
export const secondsOnA100 = (config: TrainConfig, gmac: number): number =>
  (flopsPerStep(config, gmac) * config.steps) / (1e12 * A100[config.precision] * A100.share);

/**
 * Bytes of one checkpoint (weights, two moments and the averages, in float32), and of all that are kept.
 * @param parameters of the model
 */
export function checkpointBytes({ ema, steps, checkpoints: { keep, milestoneEvery } }: TrainConfig, parameters: number) {
  const one = 4 * parameters * (3 + ema.length);
  const milestones = milestoneEvery === undefined ? 0 : Math.floor(steps / milestoneEvery);
  return { one, kept: one * (keep + milestones) };
}
