/** The one type of picture: what files are decoded to, crops give, autoencoders take, samplers return and metrics read. */
import { ArgumentError } from '@dit-moe/tensor-ops';

/** 8-bit pictures of one size, row by row, the channels of a pixel together; a single picture has `count` 1. */
export interface Pixels {
  /** `[count, height, width, channels]`, 0..255. */
  data: Uint8Array;
  count: number;
  height: number;
  width: number;
  /** 1 (grey) or 3 (RGB). */
  channels: number;
}

/** A single picture of its bytes, `[height, width, channels]`. */
export const pictureOf = (data: Uint8Array, width: number, height: number, channels = 3): Pixels => ({
  ...{ data, count: 1, height, width, channels },
});

/**
 * The pictures, if they are some.
 * @throws ArgumentError if the number of bytes does not fit, or there are neither 1 nor 3 channels
 */
export function checkPixels(pixels: Pixels): Pixels {
  const { data, count, height, width, channels } = pixels;
  if (![count, height, width].every((n) => Number.isSafeInteger(n) && n > 0) || data.length !== count * height * width * channels)
    throw new ArgumentError('pixels', `bytes of [${count}, ${height}, ${width}, ${channels}]`, `${data.length} bytes`);
  if (channels !== 1 && channels !== 3) throw new ArgumentError('pixels: channels', '1 (grey) or 3 (RGB)', channels);
  return pixels;
}

/** Pictures `from` up to before `to`; a view, not a copy. */
export function slicePixels(pixels: Pixels, from: number, to: number): Pixels {
  const size = pixels.height * pixels.width * pixels.channels;
  return { ...pixels, count: to - from, data: pixels.data.subarray(from * size, to * size) };
}

/** One of several pictures, copied. */
export function pictureAt(pixels: Pixels, index: number): Pixels {
  const { data, ...one } = slicePixels(pixels, index, index + 1);
  return { ...one, data: data.slice() };
}

/**
 * All pictures of some batches in one, in their order.
 * @throws ArgumentError if there are none, or not of one size
 */
export function joinPixels(parts: readonly Pixels[]): Pixels {
  const [first] = parts;
  if (first === undefined) throw new ArgumentError('joinPixels: parts', 'at least one batch of pictures', 'none');
  if (parts.length === 1) return first;
  const data = new Uint8Array(parts.reduce((sum, part) => sum + part.data.length, 0));
  let [at, count] = [0, 0];
  for (const part of parts) {
    const { height, width, channels } = part;
    if (height !== first.height || width !== first.width || channels !== first.channels)
      throw new ArgumentError(
        'joinPixels: parts',
        `pictures of ${first.width} x ${first.height} x ${first.channels}`,
        `${width} x ${height} x ${channels}`,
      );
    data.set(part.data, at);
    at += part.data.length;
    count += part.count;
  }
  return { ...first, count, data };
}

/** The pictures mirrored left to right. */
export function flipped(pixels: Pixels): Pixels {
  const { data, width, channels } = pixels;
  const out = new Uint8Array(data.length);
  for (let from = 0; from < data.length; from += channels) {
    const column = (from / channels) % width;
    const to = from + (width - 1 - 2 * column) * channels;
    for (let c = 0; c < channels; c++) out[to + c] = data[from + c];
  }
  return { ...pixels, data: out };
}

/** The pictures in grey: luma of Rec. 601, `0.299 R + 0.587 G + 0.114 B`, rounded, which leaves a colour without hue as it is. */
export function toGrey(pixels: Pixels): Pixels {
  if (pixels.channels === 1) return pixels;
  const { data } = pixels;
  const grey = Uint8Array.from({ length: data.length / 3 }, (_, p) =>
    Math.round(0.299 * data[3 * p] + 0.587 * data[3 * p + 1] + 0.114 * data[3 * p + 2]),
  );
  return { ...pixels, channels: 1, data: grey };
}
