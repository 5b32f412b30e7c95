/** A small convolutional network that tells the classes of small pictures: a judge of samples that knows nothing of the model. */
import { conv2d, linear, type WeightSpec } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { MetricError } from '../errors.js';

/** Size and classes of a classifier. */
export interface ClassifierConfig {
  /** Edge of the pictures, 4 to 128 pixels. */
  size: number;
  /** In the order of the labels. */
  classNames: readonly string[];
}

/** Features before the last layer. */
const FEATURES = 128;
/** Channels of the first layer; each that halves the edge has twice as many, up to four times. */
const WIDTH = 32;
/** Edge at which a picture is small enough to be read whole. */
const SMALLEST_EDGE = 8;

/** Channels of the layers that halve the edge. */
function halvings({ size }: ClassifierConfig): number[] {
  const channels: number[] = [];
  for (let edge = size; edge > SMALLEST_EDGE; edge = Math.ceil(edge / 2)) channels.push(WIDTH * Math.min(4, 2 ** (channels.length + 1)));
  return channels;
}

/** Weights by name: `conv0`, ..., `features`, `logits`, each `.weight` (filters `[kh, kw, in, out]`) and `.bias`. */
export function classifierSpecs(config: ClassifierConfig): Record<string, WeightSpec> {
  const { size, classNames } = config;
  if (!Number.isInteger(size) || size < 4 || size > 128)
    throw new MetricError('classifier', `pictures of 4 to 128 pixels are judged, found ${size}.`);
  if (classNames.length < 2) throw new MetricError('classifier', `at least two classes are told apart, found ${classNames.length}.`);
  const specs: Record<string, WeightSpec> = {};
  const add = (name: string, shape: number[]): void => {
    // He et al. 2015: keeps the variance through rectified layers.
    const std = Math.sqrt(2 / tf.util.sizeFromShape(shape.slice(0, -1)));
    specs[`${name}.weight`] = { shape, initial: { kind: 'normal', std } };
    specs[`${name}.bias`] = { shape: shape.slice(-1), initial: { kind: 'zeros' } };
  };
  const channels = [3, WIDTH, ...halvings(config)];
  for (let i = 1; i < channels.length; i++) add(`conv${i - 1}`, [3, 3, channels[i - 1], channels[i]]);
  const edge = halvings(config).reduce((edge) => Math.ceil(edge / 2), size);
  add('features', [edge * edge * channels[channels.length - 1], FEATURES]);
  add('logits', [FEATURES, classNames.length]);
  return specs;
}

/**
 * Runs the network.
 * @param images `[B, size, size, 3]`, 0 ... 255
 * @returns `pool` `[B, 128]`, the features before the last layer, and `logits` `[B, C]`
 */
export function classify(weights: Readonly<Record<string, tf.Tensor>>, config: ClassifierConfig, images: tf.Tensor) {
  const layers = halvings(config).length + 1;
  let x: tf.Tensor = tf.sub(tf.div(tf.cast(images, 'float32'), 127.5), 1); // [B, H, W, 3]
  for (let i = 0; i < layers; i++) {
    const bias = weights[`conv${i}.bias`];
    x = tf.relu(conv2d(x, weights[`conv${i}.weight`], { bias, stride: i === 0 ? 1 : 2 })); // [B, H / 2^i, W / 2^i, channels]
  }
  const flat = tf.reshape(x, [x.shape[0], -1]);
  const pool = tf.relu(linear(flat, weights['features.weight'], weights['features.bias'])); // [B, 128]
  const logits = linear(pool, weights['logits.weight'], weights['logits.bias']); // [B, C]
  return { pool: pool as tf.Tensor2D, logits: logits as tf.Tensor2D };
}
