/** Names beside the rows of a sheet. */
import type { Pixels } from '@dit-moe/data';
import { escapeHtml } from '@dit-moe/kit';
import sharp from 'sharp';

const SIZE = 13;
const MARGIN = 6;
/** Longer names are cut. */
const MOST_LETTERS = 28;
/** A letter is about this wide, as a share of the size of the type. */
const LETTER = 0.62;

/**
 * The sheet with a name to the left of each row.
 * @param rows height of a row with its gap, in pixels of the sheet
 * @returns the sheet as it is, if the machine has no fonts to write with
 */
export async function withCaptions(
  sheet: Pixels,
  captions: readonly string[],
  rows: number,
): Promise<{ picture: Pixels; written: boolean }> {
  const names = captions.map((name) => (name.length > MOST_LETTERS ? `${name.slice(0, MOST_LETTERS - 1)}…` : name));
  const width = Math.ceil(Math.max(...names.map(({ length }) => length)) * SIZE * LETTER) + 2 * MARGIN;
  const { height } = sheet;
  const texts = names.map(
    (name, i) =>
      `<text x="${width - MARGIN}" y="${(i + 0.5) * rows}" text-anchor="end" dominant-baseline="central" font-size="${SIZE}" font-family="sans-serif">${escapeHtml(name)}</text>`,
  );
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}">${texts.join('')}</svg>`;
  const { data: ink } = await sharp(Buffer.from(svg))
    .flatten({ background: '#fff' })
    .toColourspace('b-w')
    .raw()
    .toBuffer({ resolveWithObject: true });
  if (ink.every((value) => value === 255)) return { picture: sheet, written: false };
  const { channels } = sheet;
  const picture = {
    count: 1,
    width: width + sheet.width,
    height,
    channels,
    data: new Uint8Array((width + sheet.width) * height * channels).fill(255),
  };
  for (let y = 0; y < height; y++) {
    const start = y * picture.width * channels;
    for (let x = 0; x < width; x++) picture.data.fill(ink[y * width + x], start + x * channels, start + (x + 1) * channels);
    picture.data.set(sheet.data.subarray(y * sheet.width * channels, (y + 1) * sheet.width * channels), start + width * channels);
  }
  return { picture, written: true };
}
