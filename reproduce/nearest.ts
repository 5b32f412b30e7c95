/** Samples beside the images of the training that are most like them. */
import path from 'node:path';
import { joinPixels, type Pixels, slicePixels, toGrey } from '@dit-moe/data';
import { cropped, openImages } from '@dit-moe/data/node';
import { root } from './commands.js';

/** Images that are looked for, of each picture. */
export const NEIGHBOURS = 3;

export interface Labelled {
  pixels: Pixels;
  labels: number[];
}

/** All images of a split, as the model sees them. */
export async function imagesOf(folder: string, split: string | undefined, size: number, channels: number): Promise<Labelled> {
  const source = await openImages(path.join(root, folder), split === undefined ? {} : { split });
  const pictures: Pixels[] = [];
  for (let i = 0; i < source.count; i++) {
    const picture = cropped(await source.picture(i), { size });
    pictures.push(channels === 1 ? toGrey(picture) : picture);
  }
  await source.close();
  return { pixels: joinPixels(pictures), labels: Array.from({ length: source.count }, (_, i) => source.label(i)) };
}

/** Numbers of the images of the training that are most like a picture, and the root of the mean squared difference to the first. */
export function nearest(train: Pixels, picture: Uint8Array): { indices: number[]; distance: number } {
  const best: { index: number; sum: number }[] = [];
  for (let index = 0; index < train.count; index++) {
    const worst = best.length < NEIGHBOURS ? Number.POSITIVE_INFINITY : best[NEIGHBOURS - 1].sum;
    let sum = 0;
    for (let i = 0; i < picture.length && sum < worst; i++) sum += (train.data[index * picture.length + i] - picture[i]) ** 2;
    if (sum >= worst) continue;
    best.push({ index, sum });
    best.sort((a, b) => a.sum - b.sum);
    best.length = Math.min(best.length, NEIGHBOURS);
  }
  return { indices: best.map(({ index }) => index), distance: Math.sqrt(best[0].sum / picture.length) };
}

export const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];

/** Median over pictures of the distance to the nearest image of the training. */
export const medianDistance = (train: Pixels, pictures: Pixels): number =>
  median(Array.from({ length: pictures.count }, (_, i) => nearest(train, slicePixels(pictures, i, i + 1).data).distance));
