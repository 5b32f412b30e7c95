/** Images from a model: each depends on the model, the settings, the seed and its number, not on its batch. */
import { joinPixels, type Pixels } from '@dit-moe/data';
import {
  classifierFreeGuidance,
  finish,
  type GridName,
  levels,
  type Solver,
  type SolverName,
  type SolverState,
  type StepNoise,
  sample,
  solvers,
  stepNoise,
} from '@dit-moe/diffusion';
import { nullLabelOf } from '@dit-moe/dit';
import { ArgumentError, randomNormalBatch } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { diffusionModelOf, type OpenModel, type RoutedBatch } from './model.js';

/** What determines the images. */
export interface SampleSettings {
  solver: SolverName;
  /** Solver steps (default: the solver's own). */
  steps?: number;
  /** Where the steps lie (default: the solver's own). */
  grid?: GridName;
  /** Above 1: more of the uniform grid's steps near noise (default 1). */
  shift?: number;
  /** Fresh noise of solvers that can do with or without. */
  eta?: number;
  /** Timesteps of `ddpm` and `ddim` for Gaussian models, such as `ddim50` or `250` (default: `steps` evenly spaced). */
  spacing?: string;
  /** Clip the predicted clean samples to [-1, 1] (default false: latents are not bounded). */
  clip?: boolean;
  /** Classifier-free guidance scale; 1 for none. */
  guidance: number;
  /** Times `[from, to]` in which guidance applies (default: all). */
  interval?: readonly [number, number];
  seed: number;
}

/** A solver's own number of steps; undefined for one that chooses. */
const stepsOf = (solver: SolverName): number | undefined => (solvers[solver] as Solver).steps;

/** The settings alone, without what else an object holds. */
export function settingsOf({ solver, steps, grid, shift, eta, spacing, clip, guidance, interval, seed }: SampleSettings): SampleSettings {
  const all = { solver, steps: steps ?? stepsOf(solver), grid, shift, eta, spacing, clip, guidance, interval, seed };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined)) as unknown as SampleSettings;
}

/** One image: its label, and its number, which with the seed determines its noise. */
export interface ImageRequest {
  label: number;
  index: number;
  /** Another seed than the settings'. */
  seed?: number;
  /** The other end, and how far on the way there the image is (0 to 1): start noise by great circle, class by embedding. */
  toward?: { label: number; seed: number; share: number };
}

/** A picture to start from (SDEdit, Meng et al. 2022) or to complete. */
export interface Reference {
  /** In the model's space, `[1, C, h, w]`. */
  clean: tf.Tensor;
  /** Place in (0, 1] where sampling starts: 1 keeps nothing of the picture. */
  strength: number;
  /** 1 where the image is new, 0 where the picture stays, `[1, 1, h, w]`. */
  mask?: tf.Tensor;
}

export interface BatchOptions {
  /** Ends the sampling with the signal's reason before the next step. */
  signal?: AbortSignal;
  /** Sees the samples after every step; they live until it returns. */
  onStep?: (state: SolverState) => void | Promise<void>;
  /** Sees what the routers chose in every evaluation. */
  onRouting?: (routing: RoutedBatch) => void;
  reference?: Reference;
  /** Numbers to use instead of drawn ones: the start `[B, C, h, w]` and those of each step. */
  noise?: { start: tf.Tensor; steps?: StepNoise };
}

/** Channels that DiT and DiT-MoE guide in models of Gaussian diffusion; flow models are guided in all. */
const DDPM_GUIDED_CHANNELS = 3;

/** Images of one batch, `[B, C, h, w]` in the model's space; the caller owns them. */
export async function sampleBatch(
  model: OpenModel,
  images: readonly ImageRequest[],
  settings: SampleSettings,
  { signal, onStep, onRouting, reference, noise: given }: BatchOptions = {},
): Promise<tf.Tensor> {
  const { solver, guidance, interval, seed, grid, shift, eta, spacing, clip } = settings;
  const steps = settings.steps ?? stepsOf(solver);
  const { inChannels, inputSize } = model.card.config;
  const nullLabel = nullLabelOf(model.card.config);
  if (nullLabel === undefined && guidance !== 1) throw new ArgumentError('sample: guidance', '1, as the model has no null label', guidance);
  const shape = [inChannels, ...inputSize];
  const indices = images.map(({ index }) => index);
  const noise = given === undefined ? startNoise(images, seed, shape) : tf.clone(given.start);
  const blended = images.some(({ label, toward }) => toward !== undefined && toward.label !== label)
    ? model.blend(images.map(({ label, toward }) => ({ from: label, to: toward?.label ?? label, share: toward?.share ?? 0 })))
    : undefined;
  const labels = tf.tensor1d(
    images.map(({ label }, i) => (blended === undefined ? label : i)),
    'int32',
  );
  let start = noise;
  try {
    const conditional = blended?.denoiser ?? (onRouting === undefined ? model.denoiser : model.inspect(onRouting));
    const denoiser = classifierFreeGuidance(conditional, {
      labels,
      nullLabel: blended === undefined ? (nullLabel ?? 0) : images.length,
      ...(model.card.objective === 'ddpm' && { channels: DDPM_GUIDED_CHANNELS }),
      scale: guidance,
      ...(interval !== undefined && { interval }),
    });
    const diffusion = diffusionModelOf(model.card, denoiser);
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
    const run = sample(diffusion, start, {
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
    return await finish(run, onStep);
  } finally {
    if (start !== noise) start.dispose();
    tf.dispose([noise, labels]);
    blended?.dispose();
  }
}

/** Start noise `[B, ...shape]`. */
function startNoise(images: readonly ImageRequest[], seed: number, shape: readonly number[]): tf.Tensor {
  const of = (image: ImageRequest, itsSeed: number): tf.Tensor =>
    randomNormalBatch({ seed: itsSeed, purpose: 'sample', indices: [image.index] }, shape);
  if (images.every(({ seed: own, toward }) => own === undefined && toward === undefined))
    return randomNormalBatch({ seed, purpose: 'sample', indices: images.map(({ index }) => index) }, shape);
  return tf.tidy(() =>
    tf.concat(
      images.map((image) => {
        const { seed: own = seed, toward } = image;
        const from = of(image, own);
        if (toward === undefined || toward.seed === own) return from;
        return slerp(from, of(image, toward.seed), toward.share);
      }),
      0,
    ),
  );
}

/** The point at `share` of the great circle between two directions; normal numbers stay normal in length, unlike on a straight line. */
function slerp(a: tf.Tensor, b: tf.Tensor, share: number): tf.Tensor {
  const cosine = tf.div(tf.sum(tf.mul(a, b)), tf.mul(tf.norm(a), tf.norm(b)));
  const angle = tf.acos(tf.clipByValue(cosine, -1, 1));
  const weight = (s: number): tf.Tensor => tf.div(tf.sin(tf.mul(angle, s)), tf.sin(angle));
  return tf.add(tf.mul(a, weight(1 - share)), tf.mul(b, weight(share)));
}

/**
 * Generates images in batches.
 * @param options `batch`: images at once; `onImages`: called with the images done so far; `onSamples`: sees each batch in the
 * model's space
 */
export async function sampleImages(
  model: OpenModel,
  images: readonly ImageRequest[],
  settings: SampleSettings,
  options: BatchOptions & { batch: number; onImages?: (done: number) => void; onSamples?: (x: tf.Tensor) => Promise<void> },
): Promise<Pixels> {
  const parts: Pixels[] = [];
  for (let start = 0; start < images.length; start += options.batch) {
    const x = await sampleBatch(model, images.slice(start, start + options.batch), settings, options);
    try {
      await options.onSamples?.(x);
      parts.push(await model.space.decode(x));
    } finally {
      x.dispose();
    }
    options.onImages?.(Math.min(images.length, start + options.batch));
  }
  return joinPixels(parts);
}
