/**
 * Decoding of image files into 8-bit RGB as Pillow's `convert('RGB')` does it, so that crops equal those that checkpoints and
 * statistics were made with. Deliberate differences: 16-bit grey keeps its high byte (Pillow makes everything above 255 white), and
 * broken files are refused.
 */
import { optionalPackage } from '@dit-moe/tensor-ops';
import type { SharpOptions } from 'sharp';
import { type Pixels, pictureOf } from '../../pictures/pixels.js';
import { ImageError } from './image-error.js';

/** Enough for any photograph; a file of a few bytes can claim far more and exhaust the memory. */
export const MAX_IMAGE_PIXELS = 100_000_000;
/** Longest file that is decoded. */
export const MAX_IMAGE_BYTES = 2 ** 28;

export interface DecodeOptions {
  /** Whether to turn the picture as its EXIF orientation says (default false: the reference ignores it). */
  applyOrientation?: boolean;
  /** Most pixels of a picture (default {@link MAX_IMAGE_PIXELS}); more are refused before they are allocated. */
  maxPixels?: number;
}

/**
 * Pixels of an image file; the format is told by its content. Alpha is dropped, not composited; palettes and grey become RGB;
 * CMYK is converted without colour profiles, as Pillow does; colour profiles are ignored.
 *
 * @param file the whole file: PNG, JPEG, WebP, GIF (first frame), TIFF or AVIF
 * @param image how the image is called in errors
 * @throws ImageError if it is empty, truncated, damaged, too large, or no image
 * @throws MissingPackageError without the package sharp
 */
export async function decodeImage(file: Uint8Array, image: string, options: DecodeOptions = {}): Promise<Pixels> {
  const { applyOrientation = false, maxPixels = MAX_IMAGE_PIXELS } = options;
  if (file.length > MAX_IMAGE_BYTES) throw new ImageError(image, `it has ${file.length} bytes; at most ${MAX_IMAGE_BYTES} are decoded.`);
  const format = recognise(file);
  if (typeof format === 'string') throw new ImageError(image, format);
  const { default: sharp } = await optionalPackage('sharp', 'decodes image files', () => import('sharp'));
  const settings: SharpOptions = { failOn: 'error', limitInputPixels: maxPixels, ignoreIcc: true, autoOrient: applyOrientation };
  try {
    if (format.cmyk) {
      const pipeline = sharp(file, settings).pipelineColourspace('cmyk').toColourspace('cmyk');
      const { data, info } = await pipeline.raw().toBuffer({ resolveWithObject: true });
      return pictureOf(info.channels === 4 ? rgbOfCmyk(data) : data, info.width, info.height);
    }
    const { data, info } = await sharp(file, settings).toColourspace('srgb').removeAlpha().raw().toBuffer({ resolveWithObject: true });
    if (info.channels !== 3) throw new Error(`it decodes to ${info.channels} channels`);
    return pictureOf(data, info.width, info.height);
  } catch (error) {
    throw new ImageError(image, explain(error as Error, maxPixels), { cause: error });
  }
}

/** What the first bytes say, or why they are no image. */
function recognise(file: Uint8Array): { cmyk: boolean } | string {
  if (file.length === 0) return 'it is empty.';
  const ascii = Buffer.from(file.buffer, file.byteOffset, Math.min(file.length, 64)).toString('latin1');
  if (file[0] === 0xff && file[1] === 0xd8) return { cmyk: jpegChannels(file) === 4 };
  if (/^(\x89PNG|GIF8|RIFF....WEBP|II\*\0|MM\0\*|....ftyp(avif|avis|mif1))/s.test(ascii)) return { cmyk: false };
  if (/^version https:\/\/git-lfs/.test(ascii)) return 'it is not an image but a Git LFS pointer; fetch the real file (git lfs pull).';
  if (/^\s*</.test(ascii)) return 'it is not an image but HTML, XML or SVG text.';
  if (/^[\t\n\r\x20-\x7e]+$/.test(ascii)) return 'it is not an image but text.';
  return 'it is of no known image format (PNG, JPEG, WebP, GIF, TIFF, AVIF).';
}

/** Components of a JPEG from its frame header; `undefined` if it has none. */
function jpegChannels(file: Uint8Array): number | undefined {
  for (let i = 2; i + 9 < file.length && file[i] === 0xff; ) {
    const marker = file[i + 1];
    // Start of frame, except the markers in that range for tables.
    if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)) return file[i + 9];
    if (marker === 0xff) i++;
    else i += 2 + file[i + 2] * 256 + file[i + 3];
  }
  return undefined;
}

/** With n = 255 - K: R = n - C n / 255 and so on, rounded as Pillow's MULDIV255. */
function rgbOfCmyk(cmyk: Uint8Array): Uint8Array {
  const out = new Uint8Array((cmyk.length / 4) * 3);
  for (let i = 0, o = 0; i < cmyk.length; i += 4) {
    const n = 255 - cmyk[i + 3];
    for (let c = 0; c < 3; c++) {
      const product = cmyk[i + c] * n + 128;
      out[o++] = Math.max(0, n - (((product >> 8) + product) >> 8));
    }
  }
  return out;
}

/**
 * The same words for the same file, because they are written into the latent cache. The decoder's own message stays in `cause`:
 * libvips collects messages of all threads in one place, so what it says of a damaged file varies.
 */
function explain(error: Error, maxPixels: number): string {
  if (/pixel limit/i.test(error.message)) return `it claims more than ${maxPixels} pixels, which are not allocated.`;
  return 'it is truncated or damaged.';
}
