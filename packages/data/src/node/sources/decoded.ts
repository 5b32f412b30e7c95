/** All images of a source as pixels. */
import type { Pixels } from '../../pictures/pixels.js';
import { inOrder } from '../in-order.js';
import type { DecodeOptions } from '../pictures/decode-image.js';
import type { ImageSource } from './image-source.js';

/** Images decoded at once: sharp runs on libuv's pool of four threads. */
export const DECODE_AT_ONCE = 8;

/**
 * The images of a source in its order, each in its own size and decoded as for training.
 * @throws ImageError naming the first one that cannot be decoded
 */
export function decodedImages(source: ImageSource, options: DecodeOptions = {}): AsyncGenerator<Pixels> {
  return inOrder(0, source.count, DECODE_AT_ONCE, (i) => source.picture(i, options));
}
