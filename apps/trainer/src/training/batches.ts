/**
 * Batches as pure functions of (seed, step): the images in a keyed permutation per epoch, noise, times and label dropout
 * by global sample index. So a resumed run sees what the uninterrupted one would have seen.
 */
import { permutation, randomNormalBatch, randomUniformBatch } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import type { ImageDataset } from '../data/image-folder.js';

/** Inputs of a training step. */
export interface Batch {
  /** Images in [-1, 1], `[B, C, H, W]`. */
  x: tf.Tensor;
  noise: tf.Tensor;
  /** Standard normal numbers whose sigmoid are the times, `[B]`. */
  timeNormal: tf.Tensor;
  /** Labels after dropout, int32 `[B]`. */
  y: tf.Tensor;
}

/**
 * The samples number `start` to `start + size - 1` of a run, counted over all epochs.
 * @param options `flip`: mirror half of the images
 */
export function makeBatch(
  data: ImageDataset,
  start: number,
  size: number,
  options: { seed: number; labelDropout: number; flip: boolean },
): Batch {
  const { seed, labelDropout, flip } = options;
  const indices = Array.from({ length: size }, (_, i) => start + i);
  const pixels = data.channels * data.size * data.size;
  const images = new Float32Array(size * pixels);
  const labels = new Int32Array(size);
  const nullLabel = data.classNames.length;
  const [dropped, flipped] = ['label-dropout', 'flip'].map((purpose) => {
    const uniform = randomUniformBatch({ seed, purpose, indices }, []);
    const numbers = uniform.dataSync();
    uniform.dispose();
    return numbers;
  }) as [Float32Array, Float32Array];
  let epoch = -1;
  let order = (position: number): number => position;
  for (const [b, index] of indices.entries()) {
    if (Math.floor(index / data.count) !== epoch) {
      epoch = Math.floor(index / data.count);
      order = permutation({ seed, purpose: 'order', epoch }, data.count);
    }
    const image = order(index % data.count);
    labels[b] = dropped[b]! < labelDropout ? nullLabel : data.labels[image]!;
    const mirror = flip && flipped[b]! < 0.5;
    for (let i = 0; i < pixels; i++) {
      const column = i % data.size;
      const from = mirror ? i - column + (data.size - 1 - column) : i;
      images[b * pixels + i] = data.pixels[image * pixels + from]! / 127.5 - 1;
    }
  }
  const shape = [data.channels, data.size, data.size];
  return {
    x: tf.tensor(images, [size, ...shape]),
    noise: randomNormalBatch({ seed, purpose: 'noise', indices }, shape),
    timeNormal: randomNormalBatch({ seed, purpose: 'time', indices }, []),
    y: tf.tensor1d(labels, 'int32'),
  };
}
