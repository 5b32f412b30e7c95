/**
 * Decoding of image files into 8-bit RGB as Pillow's `convert('RGB')` does it, so that crops equal those that checkpoints and
 * statistics were made with. Deliberate differences: 16-bit grey keeps its high byte (Pillow makes everything above 255 white), and
 * broken files are refused.
 */
import { MissingPackageError, optionalPackage } from '@dit-moe/tensor-ops';
import type { SharpOptions } from 'sharp';
import { type Pixels, pictureOf } from '../../pictures/pixels.js';
import { ImageError } from './image-error.js';
import { PixelBudget } from './pixel-budget.js';
import { plainPicture } from './plain-formats.js';
import { isStoredYcbcr, rgbOfYcbcr } from './tiff-colour.js';

/** Enough for any photograph; a file of a few bytes can claim far more and exhaust the memory. */
export const MAX_IMAGE_PIXELS = 100_000_000;
/** Longest file that is decoded. */
export const MAX_IMAGE_BYTES = 2 ** 28;
/** Pixels that are decoded at the same time: photographs eight at a time, pictures near the limit one by one. */
const inFlight = new PixelBudget(2 ** 25);

/** How an image file is decoded. */
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
 * @param file the whole file: PNG, JPEG, WebP, GIF (first frame), TIFF, AVIF, BMP, PBM, PGM or PPM
 * @param image how the image is called in errors
 * @throws ImageError if it is empty, truncated, damaged, too large, or no image
 * @throws MissingPackageError without the package sharp
 */
export async function decodeImage(file: Uint8Array, image: string, options: DecodeOptions = {}): Promise<Pixels> {
  const { applyOrientation = false, maxPixels = MAX_IMAGE_PIXELS } = options;
  if (file.length > MAX_IMAGE_BYTES) throw new ImageError(image, `it has ${file.length} bytes; at most ${MAX_IMAGE_BYTES} are decoded.`);
  const problem = notAnImage(file);
  if (problem !== undefined) throw new ImageError(image, problem);
  try {
    const plain = plainPicture(file);
    if (plain !== undefined) {
      if (!(plain.width > 0 && plain.height > 0 && plain.width * plain.height <= maxPixels))
        throw new Error('Input image exceeds pixel limit');
      return await inFlight.run(plain.width * plain.height, async () => plain.decode());
    }
    const { default: sharp } = await optionalPackage('sharp', 'decodes image files', () => import('sharp'));
    const limits: SharpOptions = { failOn: 'error', limitInputPixels: maxPixels, ignoreIcc: true };
    const { width, height, space, format } = await sharp(file, limits).metadata();
    // Pillow turns TIFF files when it loads them, and no others.
    const settings = { ...limits, autoOrient: applyOrientation || format === 'tiff' };
    return await inFlight.run(width * height, async () => {
      const pipeline =
        space === 'cmyk'
          ? sharp(file, settings).pipelineColourspace('cmyk').toColourspace('cmyk')
          : sharp(file, settings).toColourspace('srgb').removeAlpha();
      const { data, info } = await pipeline.raw().toBuffer({ resolveWithObject: true });
      if (space === 'cmyk' && info.channels >= 4) return pictureOf(rgbOfCmyk(data, info.channels), info.width, info.height);
      if (info.channels !== 3) throw new Error(`it decodes to ${info.channels} channels`);
      const rgb = format === 'tiff' && isStoredYcbcr(file) ? rgbOfYcbcr(data) : data;
      return pictureOf(rgb, info.width, info.height);
    });
  } catch (error) {
    if (MissingPackageError.isInstance(error)) throw error;
    throw new ImageError(image, explain(error as Error, maxPixels), { cause: error });
  }
}

/** Why the first bytes are none of an image. */
function notAnImage(file: Uint8Array): string | undefined {
  if (file.length === 0) return 'it is empty.';
  const ascii = Buffer.from(file.buffer, file.byteOffset, Math.min(file.length, 64)).toString('latin1');
  if (/^(\xff\xd8|\x89PNG|GIF8|RIFF....WEBP|II\*\0|MM\0\*|....ftyp(avif|avis|mif1)|BM|P[456][\s#])/s.test(ascii)) return undefined;
  if (/^version https:\/\/git-lfs/.test(ascii)) return 'it is not an image but a Git LFS pointer; fetch the real file (git lfs pull).';
  if (/^\s*</.test(ascii)) return 'it is not an image but HTML, XML or SVG text.';
  if (/^[\t\n\r\x20-\x7e]+$/.test(ascii)) return 'it is not an image but text.';
  return 'it is of no known image format (PNG, JPEG, WebP, GIF, TIFF, AVIF, BMP, PPM).';
}

/** With n = 255 - K: R = n - C n / 255 and so on, rounded as Pillow's MULDIV255. */
function rgbOfCmyk(cmyk: Uint8Array, channels: number): Uint8Array {
  const out = new Uint8Array((cmyk.length / channels) * 3);
  for (let i = 0, o = 0; i < cmyk.length; i += channels) {
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
