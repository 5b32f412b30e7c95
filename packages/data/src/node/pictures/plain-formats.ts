/** Formats that libvips, as sharp has it, does not read and Pillow does: BMP, and the binary forms of PBM's family. */
import { type Pixels, pictureOf } from '../../pictures/pixels.js';

/** Size of a picture and how to decode it, from its first bytes. */
export interface PlainPicture {
  width: number;
  height: number;
  decode(): Pixels;
}

/** @throws Error if the header is damaged */
export function plainPicture(file: Uint8Array): PlainPicture | undefined {
  if (file[0] === 0x42 && file[1] === 0x4d) return bmp(file);
  if (file[0] === 0x50 && file[1] === 0x34) return portableBitmap(file);
  if (file[0] === 0x50 && (file[1] === 0x35 || file[1] === 0x36)) return portablePixmap(file);
  return undefined;
}

/** Uncompressed BMP of 1, 4 or 8 bits with a palette, and of 16, 24 or 32 bits, from the bottom or from the top. */
function bmp(file: Uint8Array): PlainPicture {
  const view = new DataView(file.buffer, file.byteOffset, file.length);
  const [start, headerSize] = [view.getUint32(10, true), view.getUint32(14, true)];
  const old = headerSize === 12;
  const [width, rows] = old ? [view.getUint16(18, true), view.getUint16(20, true)] : [view.getInt32(18, true), view.getInt32(22, true)];
  const bits = view.getUint16(old ? 24 : 28, true);
  const compression = old ? 0 : view.getUint32(30, true);
  const height = Math.abs(rows);
  const stride = 4 * Math.ceil((width * bits) / 32);
  // 3: with masks of the channels; 6: the same with alpha.
  if (![1, 4, 8, 16, 24, 32].includes(bits) || ![0, 3, 6].includes(compression)) throw new Error('a BMP of a kind that is not read');
  if (!(width > 0 && height > 0) || start + stride * height > file.length) throw new Error('it is cut off');
  const usual = bits === 16 ? [0x7c00, 0x3e0, 0x1f] : [0xff0000, 0xff00, 0xff];
  const masks = compression === 0 ? usual : [54, 58, 62].map((at) => view.getUint32(at, true));
  if (masks.some((mask) => mask === 0)) throw new Error('a BMP of a kind that is not read');
  const shifts = masks.map((mask) => 31 - Math.clz32(mask & -mask));
  const channel = (value: number, c: number): number => Math.floor((((value & masks[c]) >>> shifts[c]) * 255) / (masks[c] >>> shifts[c]));
  const decode = (): Pixels => {
    const rgb = new Uint8Array(3 * width * height);
    const paletteAt = 14 + headerSize + (headerSize === 40 && compression === 3 ? 12 : 0);
    for (let y = 0; y < height; y++) {
      const row = start + stride * (rows > 0 ? height - 1 - y : y);
      for (let x = 0; x < width; x++) {
        const to = 3 * (y * width + x);
        if (bits <= 8) {
          const at = x * bits;
          const index = (file[row + (at >> 3)] >> (8 - bits - (at & 7))) & ((1 << bits) - 1);
          const entry = paletteAt + (old ? 3 : 4) * index;
          for (let c = 0; c < 3; c++) rgb[to + c] = entry + 3 > start ? 0 : file[entry + 2 - c];
        } else if (bits === 24) for (let c = 0; c < 3; c++) rgb[to + c] = file[row + 3 * x + 2 - c];
        else {
          const value = bits === 16 ? view.getUint16(row + 2 * x, true) : view.getUint32(row + 4 * x, true);
          for (let c = 0; c < 3; c++) rgb[to + c] = channel(value, c);
        }
      }
    }
    return pictureOf(rgb, width, height);
  };
  return { width, height, decode };
}

/** P4: rows of bits, of which 1 is black. */
function portableBitmap(file: Uint8Array): PlainPicture {
  const match = /^P4(?:\s+|#[^\n\r]*[\n\r])+(\d+)(?:\s+|#[^\n\r]*[\n\r])+(\d+)\s/.exec(headOf(file));
  if (match === null) throw new Error('its header is damaged');
  const [width, height, start] = [Number(match[1]), Number(match[2]), match[0].length];
  const stride = Math.ceil(width / 8);
  if (!(width > 0 && height > 0) || file.length < start + stride * height) throw new Error('it is cut off');
  const decode = (): Pixels => {
    const rgb = new Uint8Array(3 * width * height);
    for (let i = 0; i < width * height; i++) {
      const [x, y] = [i % width, Math.floor(i / width)];
      const black = (file[start + stride * y + (x >> 3)] >> (7 - (x & 7))) & 1;
      rgb.fill(black ? 0 : 255, 3 * i, 3 * i + 3);
    }
    return pictureOf(rgb, width, height);
  };
  return { width, height, decode };
}

const headOf = (file: Uint8Array): string => Buffer.from(file.subarray(0, 4096)).toString('latin1');

/** P5 (grey) and P6 (RGB): a header of words in ASCII, with comments, then bytes, or two of them per number above 255. */
function portablePixmap(file: Uint8Array): PlainPicture {
  const match = /^P([56])(?:\s+|#[^\n\r]*[\n\r])+(\d+)(?:\s+|#[^\n\r]*[\n\r])+(\d+)(?:\s+|#[^\n\r]*[\n\r])+(\d+)\s/.exec(headOf(file));
  if (match === null) throw new Error('its header is damaged');
  const [width, height, most] = [Number(match[2]), Number(match[3]), Number(match[4])];
  const channels = match[1] === '6' ? 3 : 1;
  const bytes = most > 255 ? 2 : 1;
  const start = match[0].length;
  if (!(most > 0 && most < 65536) || !(width > 0 && height > 0) || file.length < start + width * height * channels * bytes)
    throw new Error('it is cut off');
  const decode = (): Pixels => {
    const rgb = new Uint8Array(3 * width * height);
    for (let i = 0; i < width * height; i++)
      for (let c = 0; c < 3; c++) {
        const at = start + (i * channels + (channels === 3 ? c : 0)) * bytes;
        const value = bytes === 1 ? file[at] : file[at] * 256 + file[at + 1];
        rgb[3 * i + c] = most === 255 ? value : Math.min(255, Math.round((value / most) * 255));
      }
    return pictureOf(rgb, width, height);
  };
  return { width, height, decode };
}
