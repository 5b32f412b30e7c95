/** Between 8-bit pixels and the numbers in [-1, 1] that autoencoders take and give. Projects round differently, and metrics notice. */
import * as tf from '@tensorflow/tfjs-core';
import type { Pixels } from './pixels.js';

/**
 * Rules from x in [-1, 1] to 0..255, by the project that uses them:
 *
 * - `dit`: `floor(clip(127.5 x + 128, 0, 255))` (DiT, DiT-MoE and ADM's sampling scripts for FID)
 * - `adm`: `floor(clip(127.5 (x + 1), 0, 255))` (loses a level: 8 bits do not survive the way there and back)
 * - `diffusers`: `255 clip(x / 2 + 0.5, 0, 1)`, rounded half to even
 * - `torchvision`: `save_image` of samples scaled from [-1, 1]: `floor(clip(255 (clip(x, -1, 1) + 1) / 2 + 0.5, 0, 255))`
 */
export type Rounding = 'dit' | 'adm' | 'diffusers' | 'torchvision';

/** Each rule as a function of a tensor of any shape; the result holds whole numbers as int32. */
export const pixelRoundings: Readonly<Record<Rounding, (x: tf.Tensor) => tf.Tensor>> = {
  dit: (x) => whole(tf.clipByValue(tf.add(tf.mul(x, 127.5), 128), 0, 255)),
  adm: (x) => whole(tf.clipByValue(tf.mul(tf.add(x, 1), 127.5), 0, 255)),
  diffusers: (x) => whole(tf.round(tf.mul(tf.clipByValue(tf.add(tf.div(x, 2), 0.5), 0, 1), 255))),
  torchvision: (x) => whole(tf.clipByValue(tf.add(tf.mul(tf.div(tf.add(tf.clipByValue(x, -1, 1), 1), 2), 255), 0.5), 0, 255)),
};

const whole = (x: tf.Tensor): tf.Tensor => tf.cast(x, 'int32');

/** Pixels 0..255 as numbers in [-1, 1]: `v / 127.5 - 1`, as ADM's and DiT's data loaders. */
export const imagesOfPixels = (pixels: tf.Tensor): tf.Tensor => tf.sub(tf.div(tf.cast(pixels, 'float32'), 127.5), 1);

/**
 * Pictures of samples, on every backend by the same float32 arithmetic.
 * @param x `[B, C, H, W]`, -1 black, 1 white; not disposed
 * @param rounding default `dit`, as the reference's sampling scripts
 */
export async function toPixels(x: tf.Tensor, rounding: Rounding = 'dit'): Promise<Pixels> {
  const [count, channels, height, width] = x.shape as [number, number, number, number];
  const rounded = tf.tidy(() => pixelRoundings[rounding](tf.transpose(x, [0, 2, 3, 1])));
  try {
    return { data: Uint8Array.from(await rounded.data()), count, height, width, channels };
  } finally {
    rounded.dispose();
  }
}
