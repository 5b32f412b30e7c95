/**
 * Resizing of 8-bit pictures to the bit as Pillow does it (libImaging/Resample.c), because published statistics and checkpoints
 * were made with it: windows of a filter widened when shrinking, weights rounded to 22 fractional bits, and 8 bits after the
 * horizontal pass as after the vertical one.
 */
import type { Picture } from './picture.js';

/** `box`: mean of the covered pixels; `bicubic`: a = -0.5 (Catmull-Rom), as Pillow's. */
export type Filter = 'box' | 'bicubic';

/** A part of a picture. */
export interface Window {
  left: number;
  top: number;
  width: number;
  height: number;
}

const FRACTION_BITS = 22;
const HALF = 1 << (FRACTION_BITS - 1);

const filters: Record<Filter, { support: number; weight(x: number): number }> = {
  box: { support: 0.5, weight: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) },
  bicubic: {
    support: 2,
    weight(x) {
      const d = Math.abs(x);
      if (d < 1) return (1.5 * d - 2.5) * d * d + 1;
      return d < 2 ? ((-0.5 * d + 2.5) * d - 4) * d + 2 : 0;
    },
  },
};

/** For each output from `from`, `count` of them: its first input, how many inputs, and their weights (`taps` apart). */
interface Weights {
  first: Int32Array;
  length: Int32Array;
  values: Int32Array;
  taps: number;
}

function weights(filter: Filter, input: number, output: number, from: number, count: number): Weights {
  const { support, weight } = filters[filter];
  const ratio = input / output;
  const scale = Math.max(ratio, 1);
  const reach = support * scale;
  const taps = Math.ceil(reach) * 2 + 1;
  const result = { first: new Int32Array(count), length: new Int32Array(count), values: new Int32Array(count * taps), taps };
  const exact = new Float64Array(taps);
  for (let i = 0; i < count; i++) {
    const centre = (from + i + 0.5) * ratio;
    const first = Math.max(0, Math.trunc(centre - reach + 0.5));
    const length = Math.min(input, Math.trunc(centre + reach + 0.5)) - first;
    let sum = 0;
    for (let t = 0; t < length; t++) sum += exact[t] = weight((t + first - centre + 0.5) * (1 / scale));
    for (let t = 0; t < length; t++) {
      const scaled = ((sum === 0 ? exact[t]! : exact[t]! * (1 / sum)) as number) * (1 << FRACTION_BITS);
      result.values[i * taps + t] = Math.trunc(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
    }
    result.first[i] = first;
    result.length[i] = length;
  }
  return result;
}

/**
 * The part `window` of `picture` resized to `width` x `height` (default: all of it). Only what the window needs is computed.
 */
export function resize(picture: Picture, width: number, height: number, filter: Filter, window?: Window): Picture {
  const { left, top, width: columns, height: rows } = window ?? { left: 0, top: 0, width, height };
  const down = weights(filter, picture.height, height, top, rows);
  // Rows of the input that the vertical pass looks at.
  const firstRow = height === picture.height ? top : down.first[0]!;
  const lastRow = height === picture.height ? top + rows : down.first[rows - 1]! + down.length[rows - 1]!;
  const across =
    width === picture.width
      ? cutColumns(picture, left, columns, firstRow, lastRow)
      : horizontal(picture, weights(filter, picture.width, width, left, columns), columns, firstRow, lastRow);
  return height === picture.height
    ? { data: across, width: columns, height: rows }
    : { data: vertical(across, down, columns, rows, firstRow), width: columns, height: rows };
}

function cutColumns({ data, width }: Picture, left: number, columns: number, firstRow: number, lastRow: number): Uint8Array {
  if (columns === width) return data.subarray(3 * width * firstRow, 3 * width * lastRow);
  const out = new Uint8Array(3 * columns * (lastRow - firstRow));
  for (let y = firstRow; y < lastRow; y++) {
    const start = 3 * (y * width + left);
    out.set(data.subarray(start, start + 3 * columns), 3 * columns * (y - firstRow));
  }
  return out;
}

function horizontal({ data, width }: Picture, { first, length, values, taps }: Weights, columns: number, from: number, to: number) {
  const out = new Uint8ClampedArray(3 * columns * (to - from));
  let o = 0;
  for (let y = from; y < to; y++) {
    for (let x = 0; x < columns; x++) {
      let red = HALF;
      let green = HALF;
      let blue = HALF;
      let i = 3 * (y * width + first[x]!);
      const end = x * taps + length[x]!;
      for (let t = x * taps; t < end; t++, i += 3) {
        const w = values[t]!;
        red += w * data[i]!;
        green += w * data[i + 1]!;
        blue += w * data[i + 2]!;
      }
      out[o++] = red >> FRACTION_BITS;
      out[o++] = green >> FRACTION_BITS;
      out[o++] = blue >> FRACTION_BITS;
    }
  }
  return new Uint8Array(out.buffer);
}

function vertical(data: Uint8Array, { first, length, values, taps }: Weights, columns: number, rows: number, firstRow: number) {
  const row = 3 * columns;
  const out = new Uint8ClampedArray(row * rows);
  const sums = new Int32Array(row);
  for (let y = 0; y < rows; y++) {
    sums.fill(HALF);
    for (let t = 0; t < length[y]!; t++) {
      const w = values[y * taps + t]!;
      const start = (first[y]! + t - firstRow) * row;
      for (let i = 0; i < row; i++) sums[i] = sums[i]! + w * data[start + i]!;
    }
    for (let i = 0; i < row; i++) out[y * row + i] = sums[i]! >> FRACTION_BITS;
  }
  return new Uint8Array(out.buffer);
}
