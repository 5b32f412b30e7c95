/** What an autoencoder is trained for: faithful pictures, and latents near a normal distribution. */
import { mean } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { decodeLatents, encodeMoments } from '../autoencoder.js';
import type { AutoencoderConfig } from '../config.js';
import { posteriorKl, posteriorOf, samplePosterior } from '../posterior.js';
import type { AutoencoderWeights } from '../weights.js';

/** Weights of the terms of the loss. */
export interface AutoencoderLossOptions {
  /** Distance of pixels: `l1` (default, as latent diffusion: sharper edges) or `l2`. */
  reconstruction?: 'l1' | 'l2';
  /** Times the KL divergence in nats per image (default 1e-6, as latent diffusion: just enough to keep latents bounded). */
  klWeight?: number;
  /**
   * A distance of pictures as people see them, such as of features of a recognition network: scalar from two `[B, C, H, W]`. Added
   * times `perceptualWeight` (default: none).
   */
  perceptual?: (reconstruction: tf.Tensor, images: tf.Tensor) => tf.Scalar;
  /** Default 1. */
  perceptualWeight?: number;
}

/** The loss and its terms. */
export interface AutoencoderLoss {
  /** The weighted sum. */
  total: tf.Scalar;
  /** Mean distance of pixels. */
  reconstruction: tf.Scalar;
  /** Mean over the images, nats. */
  kl: tf.Scalar;
  /** 0 without the term. */
  perceptual: tf.Scalar;
}

/**
 * Encodes, samples, decodes and compares (Rombach et al. 2022, appendix G, without the adversarial part).
 *
 * @param images `[B, C, H, W]` in [-1, 1]
 * @param noise standard normal, of the latents' shape
 */
export function autoencoderLoss(
  weights: AutoencoderWeights,
  config: AutoencoderConfig,
  images: tf.Tensor,
  noise: tf.Tensor,
  options: AutoencoderLossOptions = {},
): AutoencoderLoss {
  const { klWeight = 1e-6, perceptualWeight = 1 } = options;
  const posterior = posteriorOf(encodeMoments(weights, config, images));
  const decoded = decodeLatents(weights, config, samplePosterior(posterior, noise));
  const distance = options.reconstruction === 'l2' ? tf.squaredDifference(decoded, images) : tf.abs(tf.sub(decoded, images));
  const reconstruction = mean(tf.reshape(distance, [-1]), 0) as tf.Scalar;
  const kl = mean(posteriorKl(posterior), 0) as tf.Scalar;
  const perceptual = options.perceptual?.(decoded, images) ?? tf.scalar(0);
  const total = tf.add(tf.add(reconstruction, tf.mul(kl, klWeight)), tf.mul(perceptual, perceptualWeight)) as tf.Scalar;
  return { total, reconstruction, kl, perceptual };
}
