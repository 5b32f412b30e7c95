/** From an image file to the square that a model is given. */
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
 * The square of a decoded picture.
 * @param index global index of the sample, for random crops
 */
export function cropped(picture: Pixels, { size, crop = 'center', seed = 0 }: Preprocessing, index = 0): Pixels {
  return crop === 'center' ? centerCrop(picture, size) : randomCrop(picture, size, { seed, index });
}

/**
 * Decodes and crops a single file; of a source: `cropped(await source.picture(i, options), options, i)`.
 *
 * @param image how it is called in errors
 * @throws ImageError naming the image and the reason
 */
export async function preprocessImage(file: Uint8Array, image: string, options: Preprocessing, index = 0): Promise<Pixels> {
  return cropped(await decodeImage(file, image, options), options, index);
}
