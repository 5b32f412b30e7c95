/** One batch from noise to samples: labels, guidance, objective and solver put together. */
import {
  autoguidance,
  type ConditionalDenoiser,
  cached,
  classifierFreeGuidance,
  type Denoiser,
  type GuidanceRule,
  levels,
  parseGuidanceRule,
  type SolverRun,
  type StepNoise,
  sample,
  solvers,
  stepNoise,
} from '@dit-moe/diffusion';
import { nullLabelOf, type TrainedDit } from '@dit-moe/dit';
import type { RoutedBatch } from '@dit-moe/moe/telemetry';
import { ArgumentError } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { diffusionModel, guidedChannels } from './conventions.js';
import { type ImageRequest, modelLabels, startNoise } from './images.js';
import type { Reference } from './reference.js';
import type { SampleSettings } from './settings.js';

export interface SolveOptions {
  /** A weaker model to lead away from, instead of the model without its label. */
  guide?: TrainedDit;
  /** Ends the sampling with the signal's reason before the next step. */
  signal?: AbortSignal;
  /** Sees what the routers chose in every evaluation; with `cache` only in those that are computed. */
  onRouting?: (routing: RoutedBatch) => void;
  reference?: Reference;
  /** Numbers to use instead of drawn ones: the start `[B, C, h, w]` and those of each step. */
  noise?: { start: tf.Tensor; steps?: StepNoise };
}

/** Samples one batch: yields a state per solver step and returns samples `[B, C, h, w]` in the model's space, which the caller owns. */
export async function* solve(
  model: TrainedDit,
  images: readonly ImageRequest[],
  settings: SampleSettings,
  { signal, onRouting, reference, noise: given, guide }: SolveOptions = {},
): SolverRun {
  const { solver, steps, guidance, guidanceRule, interval, seed, grid, shift, eta, spacing, clip, cache } = settings;
  const { card } = model;
  const { inChannels, inputSize } = card.config;
  const nullLabel = nullLabelOf(card.config);
  const shape = [inChannels, ...inputSize];
  const indices = images.map(({ index }) => index);
  const own = modelLabels(card, images);
  const isBlended = images.some(({ label, toward }) => toward !== undefined && toward.label !== label);
  const noise = given === undefined ? startNoise(images, seed, shape) : tf.clone(given.start);
  const ways = images.map(({ toward }, i) => ({ from: own[i], to: toward?.label ?? own[i], share: toward?.share ?? 0 }));
  const blended = isBlended ? model.blend(ways) : undefined;
  const blendedGuide = isBlended ? guide?.blend(ways) : undefined;
  let rule: (GuidanceRule & { dispose?(): void }) | undefined;
  const caches: ReturnType<typeof cached>[] = [];
  const skipping = (predict: ConditionalDenoiser): ConditionalDenoiser => {
    if (cache === undefined) return predict;
    const skips = cached(predict, cache);
    caches.push(skips);
    return skips;
  };
  const labels = tf.tensor1d(blended === undefined ? own : images.map((_, i) => i), 'int32');
  let start = noise;
  try {
    const conditional = skipping(blended?.predict ?? (onRouting === undefined ? model.predict : watched(model, onRouting)));
    const ask =
      (predict: ConditionalDenoiser): Denoiser =>
      (x, t, level) =>
        predict(x, t, labels, level);
    const plain = diffusionModel(card, ask(conditional));
    // A rule may have a memory, so each batch has one of its own.
    rule = guidanceRule === undefined ? undefined : parseGuidanceRule(guidanceRule, plain.prediction);
    const guided = {
      channels: settings.guidedChannels ?? guidedChannels(card),
      scale: guidance,
      ...(interval !== undefined && { interval }),
      ...(rule !== undefined && { rule }),
    };
    const denoiser =
      guide === undefined
        ? classifierFreeGuidance(conditional, {
            ...guided,
            labels,
            nullLabel: blended === undefined ? (nullLabel ?? 0) : images.length,
          })
        : autoguidance(plain.denoiser, ask(skipping(blendedGuide?.predict ?? guide.predict)), guided);
    const diffusion = { ...plain, denoiser };
    let places: readonly number[] | undefined;
    let transform: ((clean: tf.Tensor) => tf.Tensor) | undefined;
    if (reference !== undefined) {
      const { clean, strength, mask } = reference;
      if (steps === undefined) throw new ArgumentError('sample: solver', 'one with a number of steps, to start from a picture', solver);
      const all = levels(diffusion.path, { steps, grid: grid ?? solvers[solver].grid, ...(shift !== undefined && { shift }) });
      // Like all steps of the way from noise, without those above the place where the picture comes in.
      const first = Math.min(strength, diffusion.path.start);
      places = [first, ...all.map(({ t }) => t).filter((t) => t < first)];
      const { alpha, sigma } = diffusion.path.level(first);
      start = tf.tidy(() => tf.add(tf.mul(clean, alpha), tf.mul(noise, sigma)));
      // With the known part's clean sample fixed, it follows its path from its own noise exactly.
      if (mask !== undefined) transform = (predicted) => tf.add(tf.mul(predicted, mask), tf.mul(clean, tf.sub(1, mask)));
    }
    return yield* sample(diffusion, start, {
      solver,
      ...(steps !== undefined && { steps }),
      ...((places ?? grid) !== undefined && { grid: places ?? grid }),
      ...(shift !== undefined && places === undefined && { shift }),
      ...(eta !== undefined && { eta }),
      ...(spacing !== undefined && { spacing }),
      ...(clip !== undefined && { clip }),
      ...(transform !== undefined && { transform }),
      noise: given?.steps ?? stepNoise(seed, indices, shape),
      signal,
    });
  } finally {
    if (start !== noise) start.dispose();
    tf.dispose([noise, labels]);
    blended?.dispose();
    blendedGuide?.dispose();
    rule?.dispose?.();
    for (const skips of caches) skips.dispose();
  }
}

/** The model's prediction, with what its routers chose told to somebody. */
function watched(model: TrainedDit, onRouting: (routing: RoutedBatch) => void): TrainedDit['predict'] {
  return async (x, t, y) => {
    const { output, experts } = await model.predictWithRouting(x, t, y);
    const [times, labels, ...layers] = await Promise.all([t, y, ...experts].map((tensor) => tensor.data()));
    tf.dispose(experts);
    onRouting({ layers: layers as Int32Array[], labels: labels as Int32Array, time: times[0] });
    return output;
  };
}
