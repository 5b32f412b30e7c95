/** Whether a page looks as it did: pictures of it against committed ones, small and blurred enough that fonts of other machines pass. */
import fs from 'node:fs';
import { decode, encode } from 'fast-png';

/** Pixels of the page's edge that become one of the committed picture. */
const CELL = 8;
/** Difference of a colour, of 255, that is seen: text of another font stays below it on most cells. */
const SEEN = 40;

/** Means of cells, RGB. */
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
 * Share of the page, from 0 to 1, that differs to the eye from the committed picture. With DIT_MOE_ACCEPT_LOOKS=1 the picture is
 * committed anew instead.
 */
export function differenceOfLooks(png: Uint8Array, committed: URL): number {
  const { width, height, data } = reduced(png);
  if (process.env['DIT_MOE_ACCEPT_LOOKS'] === '1') fs.writeFileSync(committed, encode({ width, height, channels: 3, data }));
  const before = decode(fs.readFileSync(committed));
  if (before.width !== width || before.height !== height) return 1;
  let differing = 0;
  for (let i = 0; i < width * height; i++)
    if ([0, 1, 2].some((c) => Math.abs(data[3 * i + c] - before.data[before.channels * i + c]) > SEEN)) differing++;
  return differing / (width * height);
}
