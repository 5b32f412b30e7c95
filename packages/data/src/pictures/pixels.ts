/** Samples in [-1, 1] as 8-bit pixels, and many of them in one picture. */
import { ArgumentError } from '@dit-moe/tensor-ops';
import type * as tf from '@tensorflow/tfjs-core';

/** 8-bit pictures of one size, pixel by pixel with the channels last. */
export interface Pixels {
  data: Uint8Array;
  count: number;
  height: number;
  width: number;
  channels: number;
}

/**
 * Pixels of samples: `round(127.5 (x + 1))`, clipped to 0..255.
 * @param x `[B, C, H, W]`, -1 black, 1 white
 */
export async function toPixels(x: tf.Tensor): Promise<Pixels> {
  const [count, channels, height, width] = x.shape as [number, number, number, number];
  const values = await x.data();
  const plane = height * width;
  const data = new Uint8Array(values.length);
  for (let b = 0; b < count; b++)
    for (let c = 0; c < channels; c++)
      for (let i = 0; i < plane; i++)
        data[(b * plane + i) * channels + c] = Math.min(255, Math.max(0, Math.round(127.5 * (values[(b * channels + c) * plane + i] + 1))));
  return { data, count, height, width, channels };
}

/** One of several pictures. */
export function pictureAt(pixels: Pixels, index: number): Pixels {
  const size = pixels.height * pixels.width * pixels.channels;
  return { ...pixels, count: 1, data: pixels.data.slice(index * size, (index + 1) * size) };
}

/**
 * All pictures in rows of `columns`, each enlarged `zoom` times without smoothing, with a white line of `zoom` pixels between them.
 * @throws ArgumentError unless `columns` and `zoom` are positive integers
 */
export function contactSheet(pixels: Pixels, columns: number, zoom = 1): Pixels {
  for (const [name, value] of Object.entries({ columns, zoom }))
    if (!Number.isInteger(value) || value < 1) throw new ArgumentError(`contactSheet: ${name}`, 'a positive integer', value);
  const { count, height, width, channels } = pixels;
  const rows = Math.ceil(count / columns);
  const [cellHeight, cellWidth] = [(height + 1) * zoom, (width + 1) * zoom];
  const sheet = { count: 1, height: rows * cellHeight - zoom, width: columns * cellWidth - zoom, channels };
  const data = new Uint8Array(sheet.height * sheet.width * channels).fill(255);
  for (let b = 0; b < count; b++) {
    const [top, left] = [Math.floor(b / columns) * cellHeight, (b % columns) * cellWidth];
    for (let y = 0; y < height * zoom; y++)
      for (let x = 0; x < width * zoom; x++)
        for (let c = 0; c < channels; c++)
          data[((top + y) * sheet.width + left + x) * channels + c] =
            pixels.data[((b * height + Math.floor(y / zoom)) * width + Math.floor(x / zoom)) * channels + c];
  }
  return { ...sheet, data };
}
