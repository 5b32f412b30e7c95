/** Images from a model: each depends on the model, the settings, the seed and its number, not on its batch. */
import {
  classifierFreeGuidance,
  finish,
  flowModel,
  type Pixels,
  type SolverName,
  type SolverState,
  sample,
  stepNoise,
  toPixels,
} from '@dit-moe/diffusion';
import { randomNormalBatch } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import type { OpenModel, RoutedBatch } from './model.js';

/** What determines the images. */
export interface SampleSettings {
  solver: SolverName;
  /** Solver steps. */
  steps: number;
  /** Classifier-free guidance scale; 1 for none. */
  guidance: number;
  /** Times `[from, to]` in which guidance applies (default: all). */
  interval?: readonly [number, number];
  seed: number;
}

/** One image: its label, and its number, which with the seed determines its start noise. */
export interface ImageRequest {
  label: number;
  index: number;
}

export interface BatchOptions {
  /** Ends the sampling with the signal's reason before the next step. */
  signal?: AbortSignal;
  /** Sees the samples after every step; they live until it returns. */
  onStep?: (state: SolverState) => void | Promise<void>;
  /** Sees what the routers chose in every evaluation. */
  onRouting?: (routing: RoutedBatch) => void;
}

/** Images of one batch, `[B, C, H, W]` in the model's space; the caller owns them. */
export async function sampleBatch(
  model: OpenModel,
  images: readonly ImageRequest[],
  settings: SampleSettings,
  { signal, onStep, onRouting }: BatchOptions = {},
): Promise<tf.Tensor> {
  const { inChannels, inputSize, numClasses } = model.card.config;
  const indices = images.map(({ index }) => index);
  const shape = [inChannels, ...inputSize];
  const start = randomNormalBatch({ seed: settings.seed, purpose: 'sample', indices }, shape);
  const labels = tf.tensor1d(
    images.map(({ label }) => label),
    'int32',
  );
  try {
    const denoiser = classifierFreeGuidance(onRouting === undefined ? model.denoiser : model.inspect(onRouting), {
      labels,
      nullLabel: numClasses,
      scale: settings.guidance,
      ...(settings.interval !== undefined && { interval: settings.interval }),
    });
    const { solver, steps, seed } = settings;
    return await finish(sample(flowModel(denoiser), start, { solver, steps, noise: stepNoise(seed, indices, shape), signal }), onStep);
  } finally {
    tf.dispose([start, labels]);
  }
}

/**
 * Generates images in batches.
 * @param options `batch`: images at once; `onImages`: called with the images done so far
 */
export async function sampleImages(
  model: OpenModel,
  images: readonly ImageRequest[],
  settings: SampleSettings,
  options: BatchOptions & { batch: number; onImages?: (done: number) => void },
): Promise<Pixels> {
  const parts: Pixels[] = [];
  for (let start = 0; start < images.length; start += options.batch) {
    const x = await sampleBatch(model, images.slice(start, start + options.batch), settings, options);
    try {
      parts.push(await toPixels(x));
    } finally {
      x.dispose();
    }
    options.onImages?.(Math.min(images.length, start + options.batch));
  }
  const data = new Uint8Array(parts.reduce((sum, part) => sum + part.data.length, 0));
  let at = 0;
  for (const part of parts) {
    data.set(part.data, at);
    at += part.data.length;
  }
  return { ...parts[0]!, count: images.length, data };
}
