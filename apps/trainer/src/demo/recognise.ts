/** Recognises images by their nearest neighbour among the real ones: a check of samples that knows nothing of the model. */
import type { ImageDataset } from '../data/images.js';

/** Label of the real image closest to `image` (squared distance of pixels); real image number `except` does not count. */
export function nearestLabel(data: ImageDataset, image: ArrayLike<number>, except = -1): number {
  const size = image.length;
  let [best, label] = [Number.POSITIVE_INFINITY, -1];
  for (let n = 0; n < data.count; n++) {
    if (n === except) continue;
    let distance = 0;
    for (let i = 0; i < size && distance < best; i++) distance += (data.pixels[n * size + i] - image[i]) ** 2;
    if (distance < best) [best, label] = [distance, data.labels[n]];
  }
  return label;
}

/**
 * Share of images that are recognised as their label.
 * @param images pixels 0..255 of all images one after the other, in the layout of the data set
 */
export function recognisedShare(data: ImageDataset, images: Uint8Array, labels: readonly number[]): number {
  const size = data.channels * data.height * data.width;
  const right = labels.filter((label, i) => nearestLabel(data, images.subarray(i * size, (i + 1) * size)) === label);
  return right.length / labels.length;
}
