/**
 * Between images and sequences of patches, for any height and width divisible by the patch size.
 * The orders are those of DiT's patch embedding and unpatchify (facebookresearch/DiT models.py).
 */
import * as tf from '@tensorflow/tfjs-core';
import { ShapeError } from '../errors.js';

/**
 * Cuts images into patches, row by row; inside a patch the order is channel, row, column, as in a flattened convolution weight.
 *
 * @param x `[B, C, H, W]`
 * @param patch side of a patch in pixels
 * @returns `[B, (H/p)(W/p), C p p]`
 * @throws ShapeError if H or W is not divisible by `patch`
 */
export function patchify(x: tf.Tensor, patch: number): tf.Tensor {
  const [batch, channels, height, width] = x.shape as [number, number, number, number];
  if (x.rank !== 4 || height % patch !== 0 || width % patch !== 0)
    throw new ShapeError('patchify', `[B, C, H, W] with H and W divisible by ${patch}`, x.shape);
  const [rows, columns] = [height / patch, width / patch];
  // Six axes are too many for the wasm backend's transpose, so that batch and rows, which stay in front, are split off one by one.
  const byRow = tf.transpose(tf.reshape(x, [batch, channels, rows, patch * width]), [0, 2, 1, 3]); // [B, h, C, p W]
  const cells = tf.reshape(byRow, [batch * rows, channels * patch, columns, patch]);
  return tf.reshape(tf.transpose(cells, [0, 2, 1, 3]), [batch, rows * columns, channels * patch * patch]);
}

/**
 * Puts patches together again; inside a patch the order is row, column, channel, as DiT's final layer has it.
 *
 * @param x `[B, h w, p p C]`
 * @param patch side of a patch in pixels
 * @param channels C
 * @param grid `[h, w]` patches per column and row
 * @returns `[B, C, h p, w p]`
 */
export function unpatchify(x: tf.Tensor, patch: number, channels: number, grid: readonly [number, number]): tf.Tensor {
  const [rows, columns] = grid;
  const batch = x.shape[0];
  if (x.rank !== 3 || x.shape[1] !== rows * columns || x.shape[2] !== patch * patch * channels) {
    throw new ShapeError('unpatchify', `[B, ${rows * columns}, ${patch * patch * channels}]`, x.shape);
  }
  const cells = tf.transpose(tf.reshape(x, [batch * rows, columns, patch, patch * channels]), [0, 2, 1, 3]); // [B h, p, w, p C]
  return tf.transpose(tf.reshape(cells, [batch, rows * patch, columns * patch, channels]), [0, 3, 1, 2]);
}
