/** What this package asks of a model, and the errors of every loop around one. */
import { DitMoeError } from '@dit-moe/tensor-ops';
import type * as tf from '@tensorflow/tfjs-core';
import type { NoiseLevel } from './paths.js';

/**
 * A model without conditioning: what it predicts (velocity, noise, ...) for the noisy samples `x` `[B, ...]` at times `t` `[B]`.
 *
 * It returns a new tensor of the shape of `x`, or with twice its channels (axis 1) if it learns a variance; it may be
 * asynchronous, such as a compiled step. `level` is where on the path `t` is, on the host.
 */
export type Denoiser = (x: tf.Tensor, t: tf.Tensor, level: NoiseLevel) => tf.Tensor | Promise<tf.Tensor>;

/** A model with labels `y`, int32 `[B]`. */
export type ConditionalDenoiser = (x: tf.Tensor, t: tf.Tensor, y: tf.Tensor, level: NoiseLevel) => tf.Tensor | Promise<tf.Tensor>;

/** The model gave NaN or infinity. */
export class NotFiniteError extends DitMoeError {
  static override readonly code = 'E_NOT_FINITE';
  constructor(step: number, time: number) {
    super(`The model gave NaN or infinity in step ${step} at time ${time}; the sample is lost. Check its weights and precision.`);
  }
}
