/** A denoiser together with what it was trained for: all that a solver has to know. */
import { ArgumentError } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import type { Denoiser } from './denoiser.js';
import { type CleanOptions, GaussianDiffusion, type GaussianDiffusionOptions } from './gaussian-diffusion.js';
import { gaussianPath } from './gaussian-path.js';
import { flowPath, type NoiseLevel, type Path, type PathName } from './paths.js';
import { firstChannels } from './per-sample.js';
import { cleanWeights, type Prediction, velocityWeights } from './predictions.js';
import { evaluate } from './solvers/solver.js';
import { weightedSum } from './weighted-sum.js';

/** A model of a path, see {@link flowModel} and {@link gaussianModel}. */
export interface DiffusionModel {
  denoiser: Denoiser;
  path: Path;
  /** Undefined for a Gaussian model of the previous step's mean, which only its own two samplers serve. */
  prediction: Prediction | undefined;
  /** Options of a model that was trained as Gaussian diffusion. */
  gaussian?: GaussianDiffusionOptions;
}

/** What a model of a flow predicts, along which path. */
export interface FlowOptions {
  /** Default `linear`, a rectified flow. */
  path?: PathName;
  /** Default `velocity`. */
  prediction?: Exclude<Prediction, 'v'>;
}

/** Distance to an end of the path where a model's prediction determines no sample or no velocity (SiT's value). */
const EPSILON = 1e-3;

/**
 * A flow model; it is told `t` in (0, 1]. Of twice the channels of `x`, the first half is the prediction.
 *
 * Models of noise and score start at t = 0.999 on paths that end in pure noise, where their prediction determines no sample.
 */
export function flowModel(denoiser: Denoiser, { path = 'linear', prediction = 'velocity' }: FlowOptions = {}): DiffusionModel {
  const noisy = prediction === 'noise' || prediction === 'score';
  const start = noisy && path !== 'vp' ? 1 - EPSILON : 1;
  return { denoiser, prediction, path: flowPath(path, start, prediction === 'velocity' && path !== 'vp' ? 0 : EPSILON) };
}

/**
 * A model trained as Gaussian diffusion; it is told training timesteps. `options.spacing` is left to the sampler.
 *
 * Its output has the shape of `x`, or twice the channels if it learned a variance: by that alone it is known which (or say `varianceType`).
 */
export function gaussianModel(denoiser: Denoiser, options: Omit<GaussianDiffusionOptions, 'spacing'> = {}): DiffusionModel {
  const diffusion = new GaussianDiffusion(options);
  const prediction = diffusion.prediction === 'previous' ? undefined : diffusion.prediction;
  return { denoiser, prediction, path: gaussianPath(diffusion), gaussian: options };
}

/** Changes to the predicted clean sample, and classifier guidance. */
export interface PredictionOptions extends CleanOptions {
  /** Gradient of log p(condition | x) with respect to x, for `t` `[B]` as the model sees it: classifier guidance. */
  gradient?: Denoiser;
}

/** Whether any of the options has an effect. */
export function changesPrediction({ gradient, transform, clip }: PredictionOptions): boolean {
  return clip === true || transform !== undefined || gradient !== undefined;
}

/**
 * The clean samples that a model predicts at a level.
 * @param step number of the step, for the error
 * @throws NotFiniteError if the model gives NaN or infinity
 * @throws ShapeError if its output has neither the shape of `x` nor twice its channels
 */
export async function predictClean(
  { denoiser, prediction }: DiffusionModel,
  x: tf.Tensor,
  level: NoiseLevel,
  step: number,
  { gradient, transform, clip }: PredictionOptions = {},
): Promise<tf.Tensor> {
  if (prediction === undefined) throw new ArgumentError('solver', 'ddpm or ddim for a model of the previous step’s mean', 'another solver');
  const [ofX, ofOutput] = cleanWeights(prediction, level);
  const output = await evaluate(denoiser, x, level, step); // [B, C, ...] or [B, 2C, ...]
  let slope: tf.Tensor | undefined;
  try {
    slope = gradient === undefined ? undefined : await evaluate(gradient, x, level, step);
    return tf.tidy(() => {
      let clean = weightedSum([ofX, ofOutput], [x, firstChannels('model output', output, x)]); // [B, C, ...]
      // Song et al. 2021, equation 14: the score of the condition is added, -noise / sigma + gradient.
      // Pure noise, where alpha is 0, says nothing about the condition.
      if (slope !== undefined && level.alpha > 0) clean = tf.add(clean, tf.mul(slope, level.sigma ** 2 / level.alpha));
      if (transform !== undefined) clean = transform(clean);
      return clip ? tf.clipByValue(clean, -1, 1) : clean;
    });
  } finally {
    tf.dispose(slope === undefined ? [output] : [output, slope]);
  }
}

/**
 * The velocity that a model predicts at a level, like {@link predictClean}.
 *
 * A velocity model's own output where nothing changes it: at clean data, the predicted clean sample would not determine it.
 */
export async function predictVelocity(
  model: DiffusionModel,
  x: tf.Tensor,
  level: NoiseLevel,
  step: number,
  options: PredictionOptions = {},
): Promise<tf.Tensor> {
  if (model.prediction === 'velocity' && !changesPrediction(options)) {
    const output = await evaluate(model.denoiser, x, level, step);
    const velocity = tf.tidy(() => firstChannels('model output', output, x));
    if (velocity !== output) output.dispose();
    return velocity;
  }
  const clean = await predictClean(model, x, level, step, options);
  const [ofX, ofClean] = velocityWeights(level);
  const velocity = weightedSum([ofX, ofClean], [x, clean]); // [B, C, ...]
  clean.dispose();
  return velocity;
}
