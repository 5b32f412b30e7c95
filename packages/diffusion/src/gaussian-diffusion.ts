/**
 * Gaussian diffusion with T discrete steps (Ho et al. 2020; Nichol and Dhariwal 2021): the forward process, its posterior, and what
 * a model's output means. Behaviour of guided-diffusion and of its copy in DiT; tables are float64, rounded to float32 on lookup.
 *
 * Deliberate differences: `learned` variance is the log variance itself, as in guided-diffusion (DiT reads it as `learned-range`);
 * methods take the model's output instead of calling the model, so that they run inside a compiled step.
 */
import { ArgumentError, gatherRows, ShapeError } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { type BetaSchedule, betaSchedule } from './beta-schedules.js';
import { type DiffusionTables, diffusionTables } from './diffusion-tables.js';
import { gvpLevel, gvpPlace, type NoiseLevel } from './paths.js';
import type { Prediction } from './predictions.js';
import { respacedBetas, respacedTimesteps } from './respacing.js';
import { checkTimesInRange } from './times-in-range.js';
import { checkWord } from './words.js';

/** What a Gaussian model predicts: noise, clean sample and v as flow models do, or the mean of the previous step. */
export type GaussianPrediction = Extract<Prediction, 'noise' | 'start' | 'v'> | 'previous';

/** Variance of a reverse step. Learned ones double the model's output channels (axis 1): mean first, then variance. */
export type VarianceType = (typeof VARIANCE_TYPES)[number];
const VARIANCE_TYPES = ['learned-range', 'learned', 'fixed-large', 'fixed-small'] as const;

/** Whether a model gives its variance in the second half of its channels. */
export const learnsVariance = (type: VarianceType): boolean => type === 'learned' || type === 'learned-range';

/** A Gaussian process and what its model predicts; the defaults are those of DiT. */
export interface GaussianDiffusionOptions {
  /** Named schedule (default `linear`), or the betas themselves. */
  schedule?: BetaSchedule | ArrayLike<number>;
  /** Steps in training (default 1000; ignored when betas are given). */
  steps?: number;
  /** Steps to keep for sampling, see `respacedTimesteps` (default: all). */
  spacing?: string;
  /** Default `noise`, as in DiT. */
  prediction?: GaussianPrediction;
  /** Default: by the model's output, `learned-range` if it has twice the channels, else `fixed-large`: the two kinds of DiT's models. */
  varianceType?: VarianceType;
}

/** A step of the (respaced) process: one index for the whole batch, or int32 `[B]`; 0 is the last step of sampling. */
export type Timestep = number | tf.Tensor;

/** Changes to the predicted clean sample before it is used. */
export interface CleanOptions {
  /** Clip to [-1, 1] (default false: latents are not bounded). */
  clip?: boolean;
  /** Applied before clipping. */
  transform?: (clean: tf.Tensor) => tf.Tensor;
}

/** p(x_{t-1} | x_t). The variances broadcast to the shape of `mean`. */
export interface ReverseStep {
  mean: tf.Tensor;
  variance: tf.Tensor;
  logVariance: tf.Tensor;
  /** The predicted clean sample. */
  clean: tf.Tensor;
}

/** The Gaussian process with all its numbers: noising, posterior, the variational bound, and the meaning of a model's output. */
export class GaussianDiffusion {
  readonly tables: DiffusionTables;
  /** Steps of this process. */
  readonly steps: number;
  /** The training timestep of each step: what the model sees. */
  readonly timesteps: readonly number[];
  readonly prediction: GaussianPrediction;
  /** Undefined: by the model's output. */
  readonly varianceType: VarianceType | undefined;

  /** @throws ArgumentError on an unknown word or a spacing that cannot be had */
  constructor(options: GaussianDiffusionOptions = {}) {
    const { schedule = 'linear', steps = 1000, spacing, prediction = 'noise', varianceType } = options;
    checkWord('GaussianDiffusion: prediction', prediction, ['noise', 'start', 'v', 'previous']);
    if (varianceType !== undefined) checkWord('GaussianDiffusion: varianceType', varianceType, VARIANCE_TYPES);
    const trained = diffusionTables(typeof schedule === 'string' ? betaSchedule(schedule, steps) : schedule);
    const count = trained.betas.length;
    this.timesteps = spacing === undefined ? Array.from({ length: count }, (_, i) => i) : respacedTimesteps(count, spacing);
    this.tables = spacing === undefined ? trained : diffusionTables(respacedBetas(trained.alphasCumprod, this.timesteps));
    this.steps = this.timesteps.length;
    this.prediction = prediction;
    this.varianceType = varianceType;
  }

  /** Step `t` as a level of the path of `gaussianModel`. */
  level(t: number): NoiseLevel {
    const { sqrtAlphasCumprod, sqrtOneMinusAlphasCumprod } = this.tables;
    const logRatio = Math.log(sqrtAlphasCumprod[this.checked(t)]) - Math.log(sqrtOneMinusAlphasCumprod[t]);
    return gvpLevel(gvpPlace(logRatio), this.timesteps[t]);
  }

  /**
   * What the model is given for step `t`: training timesteps as float32 `[B]`.
   * @param batch number of samples if `t` is one index
   */
  modelTimes(t: Timestep, batch: number): tf.Tensor {
    if (typeof t === 'number') return tf.fill([batch], this.timesteps[this.checked(t)]); // [B]
    checkTimesInRange('GaussianDiffusion: t', t, this.steps - 1);
    return gatherRows(tf.tensor1d(Float32Array.from(this.timesteps)), t); // [B]
  }

  /**
   * A table at step `t`, float32, in a shape that broadcasts over samples `x`.
   * @throws ArgumentError if `t` is outside the schedule
   * @throws ShapeError if `t` does not have one entry per sample
   */
  lookup(table: Float64Array, t: Timestep, x: tf.Tensor): tf.Tensor {
    if (typeof t === 'number') return tf.scalar(table[this.checked(t)]); // []
    if (t.rank !== 1 || t.shape[0] !== x.shape[0]) throw new ShapeError('GaussianDiffusion', `t [${x.shape[0]}]`, t.shape);
    checkTimesInRange('GaussianDiffusion: t', t, this.steps - 1);
    return tf.reshape(gatherRows(tf.tensor1d(Float32Array.from(table)), t), [t.shape[0], ...Array<number>(x.rank - 1).fill(1)]); // [B, 1, ...]
  }

  /** Noisy samples: `sqrt(a_t) clean + sqrt(1 - a_t) noise`, all `[B, ...]`. */
  addNoise(clean: tf.Tensor, t: Timestep, noise: tf.Tensor): tf.Tensor {
    if (!tf.util.arraysEqual(clean.shape, noise.shape)) throw new ShapeError('addNoise: noise', `[${clean.shape}]`, noise.shape);
    const { sqrtAlphasCumprod, sqrtOneMinusAlphasCumprod } = this.tables;
    return this.mix(sqrtAlphasCumprod, clean, sqrtOneMinusAlphasCumprod, noise, t);
  }

  /** q(x_t | x_0). */
  marginal(clean: tf.Tensor, t: Timestep): { mean: tf.Tensor; variance: tf.Tensor; logVariance: tf.Tensor } {
    const { sqrtAlphasCumprod, alphasCumprod, logOneMinusAlphasCumprod } = this.tables;
    return {
      mean: tf.mul(this.lookup(sqrtAlphasCumprod, t, clean), clean),
      variance: this.lookup(
        alphasCumprod.map((a) => 1 - a),
        t,
        clean,
      ),
      logVariance: this.lookup(logOneMinusAlphasCumprod, t, clean),
    };
  }

  /** q(x_{t-1} | x_t, x_0). */
  posterior(clean: tf.Tensor, x: tf.Tensor, t: Timestep): { mean: tf.Tensor; variance: tf.Tensor; logVariance: tf.Tensor } {
    const { posteriorMeanCoef1, posteriorMeanCoef2, posteriorVariance, posteriorLogVarianceClipped } = this.tables;
    return {
      mean: this.mix(posteriorMeanCoef1, clean, posteriorMeanCoef2, x, t),
      variance: this.lookup(posteriorVariance, t, x),
      logVariance: this.lookup(posteriorLogVarianceClipped, t, x),
    };
  }

  /** The clean sample that a noise prediction implies. */
  cleanFromNoise(x: tf.Tensor, t: Timestep, noise: tf.Tensor): tf.Tensor {
    const { sqrtRecipAlphasCumprod, sqrtRecipm1AlphasCumprod } = this.tables;
    return tf.sub(tf.mul(this.lookup(sqrtRecipAlphasCumprod, t, x), x), tf.mul(this.lookup(sqrtRecipm1AlphasCumprod, t, x), noise));
  }

  /** The noise that a prediction of the clean sample implies. */
  noiseFromClean(x: tf.Tensor, t: Timestep, clean: tf.Tensor): tf.Tensor {
    const { sqrtRecipAlphasCumprod, sqrtRecipm1AlphasCumprod } = this.tables;
    return tf.div(tf.sub(tf.mul(this.lookup(sqrtRecipAlphasCumprod, t, x), x), clean), this.lookup(sqrtRecipm1AlphasCumprod, t, x));
  }

  /** What the model should predict. */
  target(clean: tf.Tensor, x: tf.Tensor, t: Timestep, noise: tf.Tensor): tf.Tensor {
    if (this.prediction === 'noise') return noise;
    if (this.prediction === 'start') return clean;
    if (this.prediction === 'previous') return this.posterior(clean, x, t).mean;
    const { sqrtAlphasCumprod, sqrtOneMinusAlphasCumprod } = this.tables;
    return this.mix(
      sqrtAlphasCumprod,
      noise,
      sqrtOneMinusAlphasCumprod.map((s) => -s),
      clean,
      t,
    );
  }

  /**
   * Splits the model's output into its prediction and, if the variance is learned, its variance part.
   * @throws ShapeError if the output has neither the channels of `x` nor, with learned variance, twice as many
   */
  split(output: tf.Tensor, x: tf.Tensor): { prediction: tf.Tensor; variance?: tf.Tensor } {
    const doubled = x.shape.map((size, axis) => (axis === 1 ? 2 * size : size));
    const { varianceType } = this;
    const learned = varianceType === undefined ? tf.util.arraysEqual(output.shape, doubled) : learnsVariance(varianceType);
    const expected = learned ? doubled : x.shape;
    if (!tf.util.arraysEqual(output.shape, expected)) {
      const either = varianceType === undefined ? `[${x.shape}] or [${doubled}]` : `[${expected}]`;
      throw new ShapeError(`model output${varianceType === undefined ? '' : ` (${varianceType})`}`, either, output.shape);
    }
    if (!learned) return { prediction: output };
    const [prediction, variance] = tf.split(output, 2, 1); // each [B, C, ...]
    return { prediction, variance };
  }

  /**
   * The reverse step that a model's output describes.
   * @param output `[B, C, ...]`, `[B, 2C, ...]` with learned variance
   * @param x noisy samples `[B, C, ...]`
   */
  reverseStep(output: tf.Tensor, x: tf.Tensor, t: Timestep, options: CleanOptions = {}): ReverseStep {
    const { prediction, variance } = this.split(output, x); // each [B, C, ...]
    let clean = this.cleanFrom(prediction, x, t); // [B, C, ...]
    if (options.transform !== undefined) clean = options.transform(clean);
    if (options.clip) clean = tf.clipByValue(clean, -1, 1);
    const mean = this.prediction === 'previous' ? prediction : this.posterior(clean, x, t).mean; // [B, C, ...]
    return { mean, clean, ...this.reverseVariance(variance, x, t) };
  }

  private cleanFrom(prediction: tf.Tensor, x: tf.Tensor, t: Timestep): tf.Tensor {
    const { posteriorMeanCoef1, posteriorMeanCoef2, sqrtAlphasCumprod, sqrtOneMinusAlphasCumprod } = this.tables;
    if (this.prediction === 'noise') return this.cleanFromNoise(x, t, prediction);
    if (this.prediction === 'start') return prediction;
    if (this.prediction === 'v')
      return this.mix(
        sqrtAlphasCumprod,
        x,
        sqrtOneMinusAlphasCumprod.map((s) => -s),
        prediction,
        t,
      );
    return this.mix(
      posteriorMeanCoef1.map((c) => 1 / c),
      prediction,
      posteriorMeanCoef2.map((c, i) => -c / posteriorMeanCoef1[i]),
      x,
      t,
    );
  }

  private reverseVariance(learned: tf.Tensor | undefined, x: tf.Tensor, t: Timestep): { variance: tf.Tensor; logVariance: tf.Tensor } {
    const tables = this.tables;
    if (learned === undefined) {
      const [variance, logVariance] =
        this.varianceType === 'fixed-small'
          ? [tables.posteriorVariance, tables.posteriorLogVarianceClipped]
          : [tables.fixedLargeVariance, tables.fixedLargeLogVariance];
      return { variance: this.lookup(variance, t, x), logVariance: this.lookup(logVariance, t, x) };
    }
    if (this.varianceType === 'learned') return { variance: tf.exp(learned), logVariance: learned };
    const fraction = tf.mul(tf.add(learned, 1), 0.5); // [B, C, ...]
    const logVariance = tf.add(
      tf.mul(fraction, this.lookup(tables.logBetas, t, x)),
      tf.mul(tf.sub(1, fraction), this.lookup(tables.posteriorLogVarianceClipped, t, x)),
    );
    return { variance: tf.exp(logVariance), logVariance };
  }

  private mix(a: Float64Array, x: tf.Tensor, b: Float64Array, y: tf.Tensor, t: Timestep): tf.Tensor {
    return tf.add(tf.mul(this.lookup(a, t, x), x), tf.mul(this.lookup(b, t, y), y)); // [B, C, ...]
  }

  private checked(t: number): number {
    if (!(Number.isInteger(t) && t >= 0 && t < this.steps))
      throw new ArgumentError('GaussianDiffusion: t', `an integer in [0, ${this.steps})`, t);
    return t;
  }
}
