/** Training of an autoencoder from scratch: AdamW on the loss of `loss.ts`, with an average of the weights, as one compiled step. */
import {
  AdamW,
  type CompiledStep,
  clipByGlobalNorm,
  compile,
  Ema,
  globalNorm,
  Parameter,
  ParameterSet,
  randomNormalBatch,
  valueAndGrads,
} from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { encodeMoments } from '../autoencoder.js';
import { type AutoencoderConfig, downscale } from '../config.js';
import { posteriorOf, samplePosterior } from '../posterior.js';
import type { AutoencoderWeights } from '../weights.js';
import { initialAutoencoderWeights } from './initial-weights.js';
import { type AutoencoderLossOptions, autoencoderLoss } from './loss.js';

/** How an autoencoder is trained. */
export interface AutoencoderTrainingOptions extends AutoencoderLossOptions {
  /** Of weights and noise (default 0). */
  seed?: number;
  /** Decay of the averaged weights (default 0.995: small autoencoders train for thousands of steps, not millions). */
  emaDecay?: number;
  /** Largest norm of the gradient (default 1); larger ones are scaled down. */
  clipNorm?: number;
}

/** Numbers of one step. */
export interface AutoencoderStepReport {
  loss: number;
  reconstruction: number;
  kl: number;
  perceptual: number;
  /** Before clipping. */
  gradNorm: number;
}

/** Weights in training. */
export class AutoencoderTrainer {
  private readonly parameters: ParameterSet;
  private readonly optimizer: AdamW;
  private readonly ema: Ema;
  private readonly compiled: CompiledStep<tf.Tensor[], Record<string, tf.Tensor>>;
  private readonly seed: number;

  /** @param from weights to go on from; not disposed of (default: fresh ones) */
  constructor(
    readonly config: AutoencoderConfig,
    options: AutoencoderTrainingOptions = {},
    from?: AutoencoderWeights,
  ) {
    const { seed = 0, emaDecay = 0.995, clipNorm = 1 } = options;
    this.seed = seed;
    const initial = from ?? initialAutoencoderWeights(config, seed);
    this.parameters = new ParameterSet(
      Object.fromEntries(Object.entries(initial).map(([name, weight]) => [name, new Parameter(name, weight)])),
    );
    if (from === undefined) tf.dispose(initial as Record<string, tf.Tensor>);
    this.optimizer = new AdamW(this.parameters.parameters, { beta2: 0.99 });
    this.ema = new Ema(this.parameters.parameters, emaDecay);
    this.compiled = compile(
      (images, noise, learningRate) => {
        const weights = this.parameters.read();
        const { grads, extra } = valueAndGrads(() => {
          const { total, ...parts } = autoencoderLoss(weights, config, images, noise, options);
          return { loss: total, extra: { loss: total, ...parts } as Record<string, tf.Tensor> };
        }, weights);
        const gradNorm = globalNorm(grads);
        this.optimizer.apply(clipByGlobalNorm(grads, clipNorm, gradNorm), learningRate);
        this.ema.update();
        return { ...extra, gradNorm };
      },
      { name: 'autoencoder-training' },
    );
  }

  /**
   * One step.
   * @param images `[B, C, H, W]` in [-1, 1]
   * @param indices global number of each sample in the run: it decides the noise, so that batches may be cut differently
   */
  async step(images: tf.Tensor, indices: ArrayLike<number>, learningRate: number): Promise<AutoencoderStepReport> {
    const [, , height, width] = images.shape as [number, number, number, number];
    const scale = downscale(this.config);
    const noise = randomNormalBatch({ seed: this.seed, purpose: 'autoencoder.noise', indices }, [
      this.config.latentChannels,
      height / scale,
      width / scale,
    ]);
    const rate = tf.scalar(learningRate);
    const result = await this.compiled.run(images, noise, rate).finally(() => tf.dispose([noise, rate]));
    const numbers: Record<string, number> = {};
    for (const [name, value] of Object.entries(result)) numbers[name] = (await value.data())[0];
    tf.dispose(result);
    return numbers as unknown as AutoencoderStepReport;
  }

  /** A copy of the averaged weights; the caller disposes of them. */
  weights(): AutoencoderWeights {
    return this.ema.averages.read();
  }

  /** Frees everything. */
  dispose(): void {
    this.compiled.dispose();
    for (const part of [this.parameters, this.optimizer, this.ema]) part.dispose();
  }
}

/**
 * Shift and scale that give the latents of these images mean 0 and deviation 1, for the configuration of a new autoencoder.
 * @param images `[B, C, H, W]` in [-1, 1], at least some dozens
 */
export async function measureScaling(
  weights: AutoencoderWeights,
  config: AutoencoderConfig,
  images: tf.Tensor,
): Promise<Pick<AutoencoderConfig, 'scalingFactor' | 'shiftFactor'>> {
  const moments = tf.tidy(() => {
    const posterior = posteriorOf(encodeMoments(weights, config, images));
    const [batch] = images.shape as [number];
    const noise = randomNormalBatch(
      { seed: 0, purpose: 'autoencoder.scaling', indices: Array.from({ length: batch }, (_, i) => i) },
      posterior.mean.shape.slice(1),
    );
    const { mean, variance } = tf.moments(samplePosterior(posterior, noise));
    return tf.stack([mean, variance]);
  });
  const [mean, variance] = (await moments.data()) as unknown as [number, number];
  moments.dispose();
  return { shiftFactor: mean, scalingFactor: 1 / Math.sqrt(variance) };
}
