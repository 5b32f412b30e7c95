/**
 * Square crops as ADM's data loader takes them (Dhariwal and Nichol 2021, `center_crop_arr` and `random_crop_arr`): box halvings
 * while the shorter side is at least twice the size wanted, then bicubic, then the cut.
 */
import { ArgumentError, randomUniform } from '@dit-moe/tensor-ops';
import type { Pixels } from './pixels.js';
import { resize } from './resample.js';

/** The central square, `size` x `size`. */
export function centerCrop(picture: Pixels, size: number): Pixels {
  return cut(picture, size, size, (free) => Math.floor(free / 2));
}

/** Which random crop: the same (seed, index) gives the same crop of the same picture, whatever else is read. */
export interface CropStream {
  seed: number;
  /** Global index of the sample, plus the count of the data set for each epoch. */
  index: number;
}

/** Share of the shorter side that a random crop takes at least and at most; ADM's defaults. */
const RANDOM_CROP = { least: 0.8, most: 1 } as const;

/** A random square of a random scale, `size` x `size`. */
export function randomCrop(picture: Pixels, size: number, { seed, index }: CropStream): Pixels {
  const [scale, y, x] = randomUniform({ seed, purpose: 'image.crop', index }, 3) as unknown as [number, number, number];
  const [smallest, largest] = [Math.ceil(size / RANDOM_CROP.most), Math.ceil(size / RANDOM_CROP.least)];
  const shorter = smallest + Math.floor(scale * (largest - smallest + 1));
  return cut(picture, size, shorter, (free, axis) => Math.floor((axis === 'y' ? y : x) * (free + 1)));
}

/** Whether this sample is mirrored: half of them are. */
export const randomFlip = ({ seed, index }: CropStream): boolean => randomUniform({ seed, purpose: 'image.flip', index }, 1)[0] < 0.5;

/**
 * @param shorter what the shorter side becomes
 * @param begin where the cut begins if `free` pixels are left over
 */
function cut(picture: Pixels, size: number, shorter: number, begin: (free: number, axis: 'x' | 'y') => number): Pixels {
  if (!Number.isInteger(size) || size < 1) throw new ArgumentError('crop: size', 'a positive integer', size);
  let halved = picture;
  while (Math.min(halved.width, halved.height) >= 2 * shorter)
    halved = resize(halved, Math.floor(halved.width / 2), Math.floor(halved.height / 2), 'box');
  const factor = shorter / Math.min(halved.width, halved.height);
  const [width, height] = [roundHalfEven(halved.width * factor), roundHalfEven(halved.height * factor)];
  const window = { left: begin(width - size, 'x'), top: begin(height - size, 'y'), width: size, height: size };
  return resize(halved, width, height, 'bicubic', window);
}

/** Python's `round`. */
function roundHalfEven(x: number): number {
  const down = Math.floor(x);
  return x - down === 0.5 ? down + (down % 2) : Math.round(x);
}
