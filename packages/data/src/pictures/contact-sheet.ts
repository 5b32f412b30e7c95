/** Many pictures in one. */
import { ArgumentError } from '@dit-moe/tensor-ops';
import type { Pixels } from './pixels.js';

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

/** How often pictures of this width are enlarged so that they are about `edge` pixels wide; never shrunk. */
export const zoomTo = (edge: number, { width }: Pixels): number => Math.max(1, Math.floor(edge / width));
