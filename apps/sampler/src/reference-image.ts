/** Pictures from files as the start of sampling, and masks of what is to be new. */
import fs from 'node:fs/promises';
import { preprocessImage } from '@dit-moe/data/node';
import * as tf from '@tensorflow/tfjs-core';
import { UsageError } from './errors.js';
import type { OpenModel } from './model.js';
import type { Reference } from './sample.js';

/** Values of a file's picture, cropped to the model's size: RGB `[1, 3, H, W]` in 0..255. */
async function readPicture(option: string, file: string, size: number): Promise<tf.Tensor> {
  try {
    const { data, width, height } = await preprocessImage(await fs.readFile(file), file, { size });
    return tf.tidy(() => tf.expandDims(tf.transpose(tf.tensor3d(Float32Array.from(data), [height, width, 3]), [2, 0, 1]), 0));
  } catch (cause) {
    throw new UsageError(`${option}: cannot use ${file}: ${(cause as Error).message}`);
  }
}

/**
 * The reference of `--init`, `--mask` and `--strength`; the caller disposes of its tensors.
 * @throws UsageError if a file cannot be read or the model is not square
 */
export async function readReference(model: OpenModel, options: { init: string; mask?: string; strength: number }): Promise<Reference> {
  const { space, card } = model;
  const [height, width] = card.config.inputSize;
  if (height !== width) throw new UsageError('--init: only for models of square pictures.');
  const picture = await readPicture('--init', options.init, height * space.scale);
  const image = tf.tidy(() => {
    const scaled = tf.sub(tf.div(picture, 127.5), 1);
    return space.channels === 1 ? tf.mean(scaled, 1, true) : tf.clone(scaled);
  });
  picture.dispose();
  const clean = await space.encode(image).finally(() => image.dispose());
  if (options.mask === undefined) return { clean, strength: options.strength };
  try {
    const drawn = await readPicture('--mask', options.mask, height * space.scale);
    const mask = tf.tidy(() => {
      const white = tf.cast(tf.greater(tf.mean(drawn, 1, true), 127.5), 'float32');
      // A latent is new if any of its pixels is.
      const cells = tf.reshape(white, [1, height, space.scale, width, space.scale]);
      return tf.reshape(tf.max(cells, [2, 4]), [1, 1, height, width]);
    });
    drawn.dispose();
    return { clean, strength: options.strength, mask };
  } catch (error) {
    clean.dispose();
    throw error;
  }
}
