/** What the worse prediction is: the model without its label, or another, weaker model. */
import { ShapeError } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import type { ConditionalDenoiser, Denoiser } from '../denoiser.js';
import { type GuidanceOptions, guided } from './guided.js';

/** What classifier-free guidance guides by. */
export interface ClassifierFreeOptions extends GuidanceOptions {
  /** Labels of the samples, int32 `[B]`. */
  labels: tf.Tensor;
  /** The label that means "no class", or one such label per sample, int32 `[B]`. */
  nullLabel: number | tf.Tensor;
}

/**
 * Classifier-free guidance (Ho and Salimans 2022): away from the prediction for the null label. Both run as one batch of 2B.
 * @throws ArgumentError on options out of range
 * @throws ShapeError if the labels do not have one entry per sample
 */
export function classifierFreeGuidance(model: ConditionalDenoiser, options: ClassifierFreeOptions): Denoiser {
  const { labels, nullLabel } = options;
  const checked = (x: tf.Tensor): void => {
    if (labels.rank !== 1 || labels.shape[0] !== x.shape[0]) throw new ShapeError('guidance: labels', `[${x.shape[0]}]`, labels.shape);
  };
  return guided(
    (x, t, level) => {
      checked(x);
      return model(x, t, labels, level);
    },
    async (x, t, level) => {
      checked(x);
      const doubled = tf.tidy(() => {
        const nulls = typeof nullLabel === 'number' ? tf.fill([labels.shape[0]], nullLabel, 'int32') : nullLabel;
        return [tf.concat([x, x]), tf.concat([t, t]), tf.concat([labels, nulls])] as const; // [2B, C, ...], [2B], [2B]
      }) as unknown as [tf.Tensor, tf.Tensor, tf.Tensor];
      try {
        const both = await model(...doubled, level); // [2B, C, ...]
        const [conditional, unconditional] = tf.split(both, 2, 0); // each [B, C, ...]
        both.dispose();
        return [conditional, unconditional];
      } finally {
        tf.dispose(doubled);
      }
    },
    options,
  );
}

/**
 * Autoguidance (Karras et al. 2024): away from a weaker version of the model, smaller or trained for less time, with the same
 * conditioning.
 * @throws ArgumentError on options out of range
 */
export function autoguidance(model: Denoiser, weaker: Denoiser, options: GuidanceOptions): Denoiser {
  return guided(model, async (x, t, level) => [await model(x, t, level), await weaker(x, t, level)], options);
}
