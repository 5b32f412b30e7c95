/** From an image file to the pixels that an autoencoder is given. */
import { centerCrop, randomCrop } from '../../pictures/crop.js';
import type { Pixels } from '../../pictures/pixels.js';
import { decodeImage } from './decode-image.js';

/** How pictures become squares; part of a latent cache's header. */
export interface Preprocessing {
  /** Edge of the square in pixels. */
  size: number;
  /** `center` (default) or `random`, both as ADM's data loader. */
  crop?: 'center' | 'random';
  /** Seed of random crops (default 0). */
  seed?: number;
  /** Whether EXIF orientation is applied (default false, as the reference). */
  applyOrientation?: boolean;
}

/**
 * Decodes and crops.
 *
 * @param image how it is called in errors
 * @param index global index of the sample, for random crops
 * @throws ImageError naming the image and the reason
 */
export async function preprocessImage(file: Uint8Array, image: string, options: Preprocessing, index = 0): Promise<Pixels> {
  const { size, crop = 'center', seed = 0, applyOrientation = false } = options;
  const picture = await decodeImage(file, image, { applyOrientation });
  return crop === 'center' ? centerCrop(picture, size) : randomCrop(picture, size, { seed, index });
}
