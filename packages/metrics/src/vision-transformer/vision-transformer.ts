/**
 * The vision transformer (Dosovitskiy et al. 2021) as far as DINOv2 and CLIP need it: patches, class token, pre-norm blocks,
 * the normalised class token out. The two differ in activation, layer scale (DINOv2), a norm before the blocks and a
 * projection after them (CLIP).
 */
import { attention, gelu, layerNorm, linear } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';

/** A norm's or a linear map's tensors. */
export interface Affine {
  /** `[D]` of a norm, `[in, out]` of a linear map. */
  weight: tf.Tensor;
  bias?: tf.Tensor;
}

export interface VisionBlock {
  norm1: Affine;
  /** `[D, 3D]`: query, key, value. */
  qkv: Affine;
  projection: Affine;
  /** Layer scale of the attention and of the MLP, `[D]`. */
  scale1?: tf.Tensor;
  norm2: Affine;
  up: Affine;
  down: Affine;
  scale2?: tf.Tensor;
}

export interface VisionWeights {
  /** `[patch, patch, 3, D]` */
  patches: Affine;
  /** `[1, 1, D]` */
  classToken: tf.Tensor;
  /** `[1, 1 + patches, D]`, the class token's first. */
  positions: tf.Tensor;
  preNorm?: Affine;
  blocks: readonly VisionBlock[];
  norm: Affine;
  /** `[D, out]` */
  projection?: tf.Tensor;
}

export interface VisionConfig {
  heads: number;
  /** Exact GELU, or CLIP's `x sigmoid(1.702 x)`. */
  activation: 'gelu' | 'quick-gelu';
  /** Of the layer norms. */
  epsilon: number;
}

/**
 * The class token's output.
 *
 * @param images `[B, H, W, 3]`, normalised, H and W multiples of the patch
 * @returns `[B, D]`, or `[B, out]` with a projection
 */
export function visionTransformer(weights: VisionWeights, { heads, activation, epsilon }: VisionConfig, images: tf.Tensor4D): tf.Tensor2D {
  const norm = (x: tf.Tensor, { weight, bias }: Affine): tf.Tensor => layerNorm(x, { scale: weight, bias, epsilon });
  const map = (x: tf.Tensor, { weight, bias }: Affine): tf.Tensor => linear(x, weight, bias);
  const scaled = (x: tf.Tensor, scale: tf.Tensor | undefined): tf.Tensor => (scale === undefined ? x : tf.mul(x, scale));
  const activate = (x: tf.Tensor): tf.Tensor => (activation === 'gelu' ? gelu(x, 'none') : tf.mul(x, tf.sigmoid(tf.mul(x, 1.702))));

  const patch = weights.patches.weight.shape[0];
  let x: tf.Tensor = tf.conv2d(images, weights.patches.weight as tf.Tensor4D, patch, 'valid'); // [B, H/p, W/p, D]
  if (weights.patches.bias !== undefined) x = tf.add(x, weights.patches.bias);
  const [batch, rows, columns, width] = x.shape as [number, number, number, number];
  const tokens = rows * columns + 1;
  x = tf.concat([tf.tile(weights.classToken, [batch, 1, 1]), tf.reshape(x, [batch, rows * columns, width])], 1);
  x = tf.add(x, weights.positions); // [B, T, D]
  if (weights.preNorm !== undefined) x = norm(x, weights.preNorm);

  for (const block of weights.blocks) {
    const qkv = tf.reshape(map(norm(x, block.norm1), block.qkv), [batch, tokens, 3, heads, width / heads]);
    const [q, k, v] = tf.unstack(tf.transpose(qkv, [2, 0, 3, 1, 4])) as [tf.Tensor, tf.Tensor, tf.Tensor]; // [B, H, T, d]
    const mixed = tf.reshape(tf.transpose(attention(q, k, v), [0, 2, 1, 3]), [batch, tokens, width]);
    x = tf.add(x, scaled(map(mixed, block.projection), block.scale1));
    x = tf.add(x, scaled(map(activate(map(norm(x, block.norm2), block.up)), block.down), block.scale2));
  }
  const token = norm(tf.reshape(tf.slice(x, [0, 0, 0], [batch, 1, width]), [batch, width]), weights.norm);
  return (weights.projection === undefined ? token : linear(token, weights.projection)) as tf.Tensor2D;
}
