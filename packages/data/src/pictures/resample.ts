/**
 * Resizing of 8-bit pictures to the bit as Pillow does it (libImaging/Resample.c), because published statistics and checkpoints
 * were made with it: windows of a filter widened when shrinking, weights rounded to 22 fractional bits, and 8 bits after the
 * horizontal pass as after the vertical one.
 */
import { ArgumentError } from '@dit-moe/tensor-ops';
import { joinPixels, type Pixels, slicePixels } from './pixels.js';
import { RESAMPLE_WASM } from './resample-wasm.js';

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
      const scaled = ((sum === 0 ? exact[t] : exact[t] * (1 / sum)) as number) * (1 << FRACTION_BITS);
      result.values[i * taps + t] = Math.trunc(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
    }
    result.first[i] = first;
    result.length[i] = length;
  }
  return result;
}

/**
 * The part `window` of RGB pictures resized to `width` x `height` (default: all of it). Only what the window needs is computed.
 * @throws ArgumentError if they have other than 3 channels
 */
export function resize(pixels: Pixels, width: number, height: number, filter: Filter, window?: Window): Pixels {
  if (pixels.channels !== 3) throw new ArgumentError('resize: channels', '3 (RGB)', pixels.channels);
  const pictures = Array.from({ length: pixels.count }, (_, i) => slicePixels(pixels, i, i + 1));
  return joinPixels(pictures.map((picture) => resizeOne(picture, width, height, filter, window)));
}

function resizeOne(picture: Pixels, width: number, height: number, filter: Filter, window?: Window): Pixels {
  const { left, top, width: columns, height: rows } = window ?? { left: 0, top: 0, width, height };
  const down = height === picture.height ? undefined : weights(filter, picture.height, height, top, rows);
  const across = width === picture.width ? undefined : weights(filter, picture.width, width, left, columns);
  // Rows of the input that the vertical pass looks at.
  const firstRow = down === undefined ? top : down.first[0];
  const lastRow = down === undefined ? top + rows : down.first[rows - 1] + down.length[rows - 1];
  const source = across === undefined ? cutColumns(picture, left, columns, firstRow, lastRow) : rowsOf(picture, firstRow, lastRow);
  if (down !== undefined) for (let y = 0; y < rows; y++) down.first[y] -= firstRow;
  return {
    data: passes(source, across, down, { stride: 3 * picture.width, height: lastRow - firstRow, columns, rows }),
    ...{ count: 1, width: columns, height: rows, channels: 3 },
  };
}

const rowsOf = ({ data, width }: Pixels, from: number, to: number): Uint8Array => data.subarray(3 * width * from, 3 * width * to);

function cutColumns(picture: Pixels, left: number, columns: number, from: number, to: number): Uint8Array {
  const { data, width } = picture;
  if (columns === width) return rowsOf(picture, from, to);
  const out = new Uint8Array(3 * columns * (to - from));
  for (let y = from; y < to; y++) {
    const start = 3 * (y * width + left);
    out.set(data.subarray(start, start + 3 * columns), 3 * columns * (y - from));
  }
  return out;
}

interface Kernels {
  memory: WebAssembly.Memory;
  horizontal(source: number, stride: number, rows: number, target: number, columns: number, ...weights: number[]): void;
  vertical(source: number, stride: number, rows: number, target: number, ...weights: number[]): void;
}

let kernels: Kernels | undefined;

/** The WebAssembly module, made once: a few hundred bytes, so at once rather than asynchronously. */
function loadKernels(): Kernels {
  const bytes = Uint8Array.from(atob(RESAMPLE_WASM), (character) => character.charCodeAt(0));
  return new WebAssembly.Instance(new WebAssembly.Module(bytes)).exports as unknown as Kernels;
}

const PAGE_BYTES = 65536;
/** Kernels write whole vectors, so up to 15 bytes behind a region. */
const SLACK_BYTES = 16;

/** Both passes, in the kernels' memory: source, rows after the horizontal pass, rows after the vertical one, weights. */
function passes(
  source: Uint8Array,
  across: Weights | undefined,
  down: Weights | undefined,
  { stride, height, columns, rows }: { stride: number; height: number; columns: number; rows: number },
): Uint8Array {
  if (across === undefined && down === undefined) return source.slice();
  const { memory, horizontal, vertical } = (kernels ??= loadKernels());
  const row = 3 * columns;
  let end = 0;
  const region = (bytes: number): number => {
    const start = end;
    end = Math.ceil((start + bytes + SLACK_BYTES) / 16) * 16;
    return start;
  };
  const weightBytes = (w: Weights | undefined): number =>
    w === undefined ? 0 : w.first.byteLength + w.length.byteLength + w.values.byteLength;
  const from = region(source.length);
  const middle = across === undefined ? from : region(row * height);
  const to = down === undefined ? middle : region(row * rows);
  const [acrossAt, downAt] = [region(weightBytes(across)), region(weightBytes(down))];
  if (end > memory.buffer.byteLength) memory.grow(Math.ceil((end - memory.buffer.byteLength) / PAGE_BYTES));
  const bytes = new Uint8Array(memory.buffer);
  bytes.set(source, from);
  /** Copies weights and returns where first, length and values are, and the number of taps. */
  const place = ({ first, length, values, taps }: Weights, at: number): number[] => {
    const places = [at, at + first.byteLength, at + first.byteLength + length.byteLength];
    for (const [i, part] of [first, length, values].entries()) new Int32Array(memory.buffer, places[i], part.length).set(part);
    return [...places, taps];
  };
  if (across !== undefined) horizontal(from, stride, height, middle, columns, ...place(across, acrossAt));
  if (down !== undefined) vertical(middle, row, rows, to, ...place(down, downAt));
  return bytes.slice(to, to + row * rows);
}
