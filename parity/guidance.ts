/** The reference's `forward_with_cfg`. */
import { type DitConfig, dit } from '@dit-moe/dit';
import * as tf from '@tensorflow/tfjs-core';
import type { ReferenceModel } from './reference-model.js';

/** Channels that the reference guides. */
const GUIDED = 3;

/**
 * Classifier-free guidance inside one forward pass: the first half of `x` is used for both halves, `y` holds the labels, then the null
 * labels; the first channels of both halves become the guided value `uncond + scale (cond - uncond)`, the others stay those of their half.
 *
 * @param x `[2B, C, H, W]`, whose second half is ignored
 * @returns `[2B, C or 2C, H, W]`
 */
export function ditWithGuidance(
  weights: ReferenceModel['weights'],
  config: DitConfig,
  x: tf.Tensor,
  t: tf.Tensor,
  y: tf.Tensor,
  scale: number,
): tf.Tensor {
  const half = tf.split(x, 2, 0)[0];
  const { output } = dit(weights, config, tf.concat([half, half]), t, y);
  const [guided, others] = tf.split(output, [GUIDED, output.shape[1]! - GUIDED], 1) as [tf.Tensor, tf.Tensor];
  const [conditional, unconditional] = tf.split(guided, 2, 0) as [tf.Tensor, tf.Tensor];
  const mix = tf.add(unconditional, tf.mul(scale, tf.sub(conditional, unconditional)));
  return tf.concat([tf.concat([mix, mix]), others], 1);
}
