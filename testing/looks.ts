/**
 * Whether a page looks as it did: pictures of it against committed ones, small and blurred enough that fonts of other machines pass.
 *
 * With DIT_MOE_ACCEPT_LOOKS=1 the committed pictures are written anew. With DIT_MOE_SCREENSHOTS=FOLDER tests of pages leave whole, sharp
 * ones there, to be looked at.
 */
import fs from 'node:fs';
import path from 'node:path';
import { decode, encode } from 'fast-png';
import type { Locator, Page } from 'playwright-core';

/** Share of a page that may look different: a serif font makes 3 %, lost padding or lost columns more than 20 %. */
export const MOST_DIFFERENT = 0.05;

/** Pixels of the page's edge that become one of the committed picture. */
const CELL = 8;
/** Difference of a colour, of 255, that is seen: text of another font stays below it on most cells. */
const SEEN = 40;

/** Means of cells, RGB, row by row. */
function reduced(png: Uint8Array): { width: number; height: number; data: Uint8Array } {
  const picture = decode(png);
  const [width, height] = [Math.floor(picture.width / CELL), Math.floor(picture.height / CELL)];
  const data = new Uint8Array(3 * width * height);
  for (let i = 0; i < data.length; i++) {
    const [x, y, c] = [Math.floor(i / 3) % width, Math.floor(i / 3 / width), i % 3];
    let sum = 0;
    for (let at = 0; at < CELL * CELL; at++) {
      const [row, column] = [y * CELL + Math.floor(at / CELL), x * CELL + (at % CELL)];
      sum += picture.data[(row * picture.width + column) * picture.channels + c];
    }
    data[i] = Math.round(sum / CELL ** 2);
  }
  return { width, height, data };
}

/**
 * Share, from 0 to 1, of the picture that differs most to the eye from its part of the committed one.
 * @param pictures PNGs of one width; the committed picture has them below each other
 */
export function differenceOfLooks(pictures: readonly Uint8Array[], committed: URL): number {
  const parts = pictures.map(reduced);
  const [{ width }] = parts;
  const height = parts.reduce((sum, part) => sum + part.height, 0);
  const data = Uint8Array.from(Buffer.concat(parts.map((part) => part.data)));
  if (process.env['DIT_MOE_ACCEPT_LOOKS'] === '1') {
    fs.mkdirSync(new URL('.', committed), { recursive: true });
    fs.writeFileSync(committed, encode({ width, height, channels: 3, data }));
  }
  const before = decode(fs.readFileSync(committed));
  if (before.width !== width || before.height !== height) return 1;
  const differs = (i: number): boolean => [0, 1, 2].some((c) => Math.abs(data[3 * i + c] - before.data[before.channels * i + c]) > SEEN);
  let from = 0;
  const shares = parts.map((part) => {
    const cells = part.width * part.height;
    const differing = Array.from({ length: cells }, (_, i) => from + i).filter(differs).length;
    from += cells;
    return differing / cells;
  });
  return Math.max(...shares);
}

/**
 * Pictures of a page, as wide as it is, from the top of each element to its end: where one begins depends on the lines that fonts make of
 * the text above.
 * @param most pixels of their heights
 */
export async function picturesOf(page: Page, elements: readonly Locator[], most: number): Promise<Uint8Array[]> {
  const { width } = page.viewportSize()!;
  const pictures: Uint8Array[] = [];
  for (const element of elements) {
    const { y, height } = await element.evaluate((found) => {
      const { top, height } = found.getBoundingClientRect();
      return { y: top + scrollY, height };
    });
    pictures.push(await page.screenshot({ fullPage: true, clip: { x: 0, y, width, height: Math.min(most, height) } }));
  }
  return pictures;
}

/** Leaves a picture of the whole page where DIT_MOE_SCREENSHOTS says, if it does. */
export async function leaveScreenshot(page: Page, name: string): Promise<void> {
  const folder = process.env['DIT_MOE_SCREENSHOTS'];
  if (folder !== undefined) await page.screenshot({ fullPage: true, path: path.join(folder, name) });
}
