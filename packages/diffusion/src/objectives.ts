/**
 * What a model is trained for, as plain options: how times are drawn, what the model is shown and told, its loss per sample, and
 * how it is sampled afterwards. Everything but the draw may run inside a compiled step.
 */
import { ArgumentError, mean, type RandomBatch, randomIntegersBatch, randomNormalBatch, randomUniformBatch } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import type { Denoiser } from './denoiser.js';
import { type DiffusionModel, flowModel, gaussianModel } from './diffusion-model.js';
import { checkFlowLossOptions, type FlowLossOptions, flowLosses, flowNoisy } from './flow-losses.js';
import {
  GaussianDiffusion,
  type GaussianDiffusionOptions,
  type GaussianPrediction,
  learnsVariance,
  type VarianceType,
} from './gaussian-diffusion.js';
import { diffusionLosses, LOSS_TYPES, type LossType, minSnrWeights } from './gaussian-losses.js';
import { flowPath } from './paths.js';
import { checkTimeSampling, sampleTimes, type TimeSampling, wantsNormal } from './time-sampling.js';
import { LossSecondMomentSampler } from './timestep-samplers.js';
import { checkWord } from './words.js';

/** Terms of a loss by name, each `[B]`; `loss` is what is minimised, the others are for people. */
export type SampleLosses = { loss: tf.Tensor } & Record<string, tf.Tensor>;

/** What a model is trained for: noising of a batch, and its losses. */
export interface Objective {
  /** Whether the model needs twice the channels, for its variance. */
  learnsVariance: boolean;
  /** Random numbers `[B, ...]` that determine the times of a batch; drawn on the host, before a compiled step. */
  draw(batch: RandomBatch): tf.Tensor;
  /** The noisy samples `x` and what the model is told, `t` `[B]`. */
  noisy(clean: tf.Tensor, noise: tf.Tensor, drawn: tf.Tensor): { x: tf.Tensor; t: tf.Tensor };
  /** Losses of the model's output for them. */
  losses(output: tf.Tensor, clean: tf.Tensor, noise: tf.Tensor, drawn: tf.Tensor): SampleLosses;
  /** Mean loss of a model: `noisy`, the model, `losses` and their mean in one. */
  loss(model: (x: tf.Tensor, t: tf.Tensor) => tf.Tensor, clean: tf.Tensor, noise: tf.Tensor, drawn: tf.Tensor): tf.Tensor;
  /** Present if the times to come depend on the losses `[B]` so far (`timesteps: 'loss-second-moment'`): tell them after each step. */
  observe?(drawn: tf.Tensor, losses: tf.Tensor): Promise<void>;
  /** Present with `observe`: what it has been told is in the sampler's `lossHistory`, which a checkpoint has to hold for an exact resume. */
  readonly timestepSampler?: LossSecondMomentSampler;
  /** The trained model for `sample`. */
  model(denoiser: Denoiser): DiffusionModel;
}

/** Flow matching: path, prediction, loss and times. */
export interface FlowObjectiveOptions extends FlowLossOptions {
  /** Default: logit-normal. */
  times?: TimeSampling;
}

/** Gaussian diffusion: process, prediction, loss and timesteps. */
export interface DdpmObjectiveOptions extends Omit<GaussianDiffusionOptions, 'spacing'> {
  /** Default `learned-range`, as in DiT: the model needs twice the channels. */
  varianceType?: VarianceType;
  /** Default `mse`, with the variational term if the variance is learned. */
  loss?: LossType;
  /** Limits the weight of nearly clean samples to this ratio of signal to noise (min-SNR; the paper's is 5; default: none). */
  minSnr?: number;
  /** Default `uniform`; `loss-second-moment` prefers timesteps of large losses and weighs them less, see `LossSecondMomentSampler`. */
  timesteps?: 'uniform' | 'loss-second-moment';
}

/** What the kinds of objectives differ in. */
type Parts = Omit<Objective, 'loss'>;

/**
 * Distances from clean data and from noise within which models are not trained, those of SiT: on the VP path the velocity is infinite in
 * clean data, and on the others predictions of noise, score and data do not determine it at the ends.
 */
function marginsOf({ path = 'linear', prediction = 'velocity', weighting }: FlowLossOptions): readonly [number, number] {
  if (path === 'vp') return [1e-5, 0];
  // The velocity's weight has a limit of its own, and its paper no other.
  return prediction === 'velocity' || (prediction === 'start' && weighting === 'velocity') ? [0, 0] : [1e-3, 1e-3];
}

/** Flow matching; the defaults are the reference's rectified flow. */
function flow(options: FlowObjectiveOptions): Parts {
  const { times = {}, ...loss } = options;
  checkTimeSampling(times);
  checkFlowLossOptions(loss);
  flowPath(loss.path ?? 'linear');
  const [first, last] = marginsOf(loss);
  const timesOf = (drawn: tf.Tensor): tf.Tensor => {
    const t = sampleTimes(drawn, times);
    return first === 0 ? t : tf.add(tf.mul(t, 1 - first - last), first); // [B]
  };
  return {
    learnsVariance: false,
    draw: (batch) => (wantsNormal(times) ? randomNormalBatch(batch, []) : randomUniformBatch(batch, [])),
    noisy(clean, noise, drawn) {
      const t = timesOf(drawn);
      return { x: flowNoisy(clean, noise, t, loss), t };
    },
    losses: (output, clean, noise, drawn) => ({ ...flowLosses(output, clean, noise, timesOf(drawn), loss) }),
    model: (denoiser) => flowModel(denoiser, loss),
  };
}

/** Gaussian diffusion; the defaults are the reference's: noise prediction, learned variance, 1000 linear steps. */
function ddpm(options: DdpmObjectiveOptions): Parts {
  const { loss: type = 'mse', minSnr, timesteps = 'uniform', varianceType = 'learned-range', ...rest } = options;
  const gaussian = { ...rest, varianceType };
  const diffusion = new GaussianDiffusion(gaussian);
  if (minSnr !== undefined && !(minSnr > 0)) throw new ArgumentError('objective ddpm: minSnr', 'a positive number', minSnr);
  if (minSnr !== undefined && (type === 'kl' || type === 'rescaled-kl'))
    throw new ArgumentError('objective ddpm: minSnr', 'a squared error as the loss', type);
  checkWord('objective ddpm: loss', type, LOSS_TYPES);
  checkWord('objective ddpm: timesteps', timesteps, ['uniform', 'loss-second-moment']);
  const weights = minSnr === undefined ? undefined : minSnrWeights(diffusion, minSnr);
  const parts: Parts = {
    learnsVariance: learnsVariance(varianceType),
    draw: (batch) => randomIntegersBatch(batch, [], diffusion.steps),
    noisy: (clean, noise, drawn) => ({ x: diffusion.addNoise(clean, drawn, noise), t: diffusion.modelTimes(drawn, clean.shape[0]) }),
    losses(output, clean, noise, drawn) {
      const terms = diffusionLosses(diffusion, output, clean, drawn, noise, type) as SampleLosses;
      if (weights === undefined) return { ...terms };
      const mse = tf.mul(terms['mse'], diffusion.lookup(weights, drawn, terms['mse']));
      return { ...terms, mse, loss: terms['vb'] === undefined ? mse : tf.add(mse, terms['vb']) };
    },
    model: (denoiser) => gaussianModel(denoiser, gaussian),
  };
  return timesteps === 'uniform' ? parts : lossAware(parts, new LossSecondMomentSampler(diffusion.steps));
}

/** Timesteps chosen by their losses: what is drawn holds the steps and the weights that keep the loss's expectation, float32 `[B, 2]`. */
function lossAware(parts: Parts, sampler: LossSecondMomentSampler): Parts {
  const stepsOf = (drawn: tf.Tensor): tf.Tensor => tf.cast(tf.squeeze(tf.slice(drawn, [0, 0], [-1, 1]), [1]), 'int32');
  const weightsOf = (drawn: tf.Tensor): tf.Tensor => tf.squeeze(tf.slice(drawn, [0, 1], [-1, 1]), [1]);
  return {
    ...parts,
    timestepSampler: sampler,
    draw: (batch) =>
      tf.tidy(() => {
        const { timesteps, weights } = sampler.sample(randomUniformBatch(batch, []).dataSync());
        return tf.stack([tf.tensor1d(Float32Array.from(timesteps)), tf.tensor1d(weights)], 1);
      }),
    noisy: (clean, noise, drawn) => parts.noisy(clean, noise, stepsOf(drawn)),
    losses(output, clean, noise, drawn) {
      const terms = parts.losses(output, clean, noise, stepsOf(drawn));
      return { ...terms, loss: tf.mul(terms.loss, weightsOf(drawn)) };
    },
    async observe(drawn, losses) {
      const [rows, weighed] = await Promise.all([drawn.data(), losses.data()]);
      sampler.update(
        weighed.map((_, i) => rows[2 * i]),
        weighed.map((loss, i) => loss / rows[2 * i + 1]),
      );
    },
  };
}

/** Options of an objective with its name, as a configuration file holds them. */
export type ObjectiveOptions = ({ kind: 'flow' } & FlowObjectiveOptions) | ({ kind: 'ddpm' } & DdpmObjectiveOptions);

/**
 * Options as they are named now: earlier configurations and model cards have `meanType`, with the words `epsilon` and `velocity`, for
 * the `prediction` of Gaussian diffusion.
 */
export function currentObjective<T extends object>(options: T): Omit<T, 'meanType'> & { prediction?: GaussianPrediction } {
  const { meanType, ...rest } = options as T & { meanType?: string };
  if (meanType === undefined) return rest;
  const words: Record<string, string> = { epsilon: 'noise', velocity: 'v' };
  return { ...rest, prediction: (words[meanType] ?? meanType) as GaussianPrediction };
}

/**
 * The objective that options describe.
 * @throws ArgumentError on an unknown word or options out of range
 */
export function objective(written: ObjectiveOptions): Objective {
  const options = currentObjective(written) as ObjectiveOptions;
  const { kind } = options;
  checkWord('objective: kind', kind, ['flow', 'ddpm']);
  const parts = kind === 'flow' ? flow(options) : ddpm(options);
  return {
    ...parts,
    loss(model, clean, noise, drawn) {
      const { x, t } = parts.noisy(clean, noise, drawn);
      return mean(parts.losses(model(x, t), clean, noise, drawn).loss, 0);
    },
  };
}
