/** Images from a model: each depends on the model, the settings, the seed and its number, not on its batch. */
import {
  classifierFreeGuidance,
  cleanFromVelocity,
  type Denoiser,
  dpmSolver2M,
  euler,
  finish,
  flowLevels,
  heun,
  type Pixels,
  toPixels,
  uniformTimes,
} from '@dit-moe/diffusion';
import { randomNormalBatch } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import type { OpenModel } from './model.js';

export const solvers = {
  euler,
  heun,
  'dpm++2m': (velocity: Denoiser, noise: tf.Tensor, times: readonly number[]) =>
    dpmSolver2M(cleanFromVelocity(velocity), noise, flowLevels(times)),
} as const;

/** What determines the images. */
export interface SampleSettings {
  solver: keyof typeof solvers;
  /** Solver steps. */
  steps: number;
  /** Classifier-free guidance scale; 1 for none. */
  guidance: number;
  /** Times `[from, to]` in which guidance applies (default: all). */
  interval?: readonly [number, number];
  seed: number;
}

/**
 * Generates one image per label, in batches.
 * @param options `batch`: images at once; `first`: number of the first image; `onImages`: called with the images done so far
 */
export async function sampleImages(
  model: OpenModel,
  labels: readonly number[],
  settings: SampleSettings,
  options: { batch: number; first?: number; onImages?: (done: number) => void },
): Promise<Pixels> {
  const { inChannels, inputSize, numClasses } = model.card.config;
  const parts: Pixels[] = [];
  for (let start = 0; start < labels.length; start += options.batch) {
    const chunk = labels.slice(start, start + options.batch);
    const indices = chunk.map((_, i) => (options.first ?? 0) + start + i);
    const noise = randomNormalBatch({ seed: settings.seed, purpose: 'sample', indices }, [inChannels, ...inputSize]);
    const y = tf.tensor1d(chunk as number[], 'int32');
    try {
      const denoiser = classifierFreeGuidance(model.denoiser, {
        labels: y,
        nullLabel: numClasses,
        scale: settings.guidance,
        ...(settings.interval !== undefined && { interval: settings.interval }),
      });
      const x = await finish(solvers[settings.solver](denoiser, noise, uniformTimes(settings.steps)));
      parts.push(await toPixels(x));
      x.dispose();
    } finally {
      tf.dispose([noise, y]);
    }
    options.onImages?.(Math.min(labels.length, start + options.batch));
  }
  const data = new Uint8Array(parts.reduce((sum, part) => sum + part.data.length, 0));
  let at = 0;
  for (const part of parts) {
    data.set(part.data, at);
    at += part.data.length;
  }
  return { ...parts[0]!, count: labels.length, data };
}
