/** Weights as a stream, in the order of `weightSpecs`: what models are made from and turned into, one tensor in memory at a time. */
import type { NamedArray } from '../checkpoints/convert.js';
import type { DitConfig } from '../config.js';

/** A model whose weights come one after another; `ModelFile` of `readModel` is one. */
export interface WeightStream {
  config: DitConfig;
  weights(): AsyncIterable<[name: string, value: NamedArray]>;
}

/** Block and rest of a weight's name; undefined outside of blocks. */
export function blockOf(name: string): { block: number; part: string } | undefined {
  const match = /^blocks\.(\d+)\.(.+)$/.exec(name);
  return match === null ? undefined : { block: Number(match[1]), part: match[2] };
}

/** Slices `from` of the first axis, each of `size` numbers, one after another. */
export function takeSlices(data: Float32Array, size: number, from: readonly number[]): Float32Array {
  const out = new Float32Array(from.length * size);
  for (const [i, slice] of from.entries()) out.set(data.subarray(slice * size, (slice + 1) * size), i * size);
  return out;
}

/** `[rows, columns]` restricted to some columns. */
export function takeColumns(data: Float32Array, columns: number, from: readonly number[]): Float32Array {
  const rows = data.length / columns;
  const out = new Float32Array(rows * from.length);
  for (let r = 0; r < rows; r++) for (let i = 0; i < from.length; i++) out[r * from.length + i] = data[r * columns + from[i]];
  return out;
}
