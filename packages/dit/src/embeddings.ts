/** Frozen position and timestep embeddings, as the reference computes them. */
import * as tf from '@tensorflow/tfjs-core';

const MAX_PERIOD = 10_000;

/**
 * 2-D sine-cosine positions (MAE's, as DiT uses them): the first half of the channels encodes the column, the second the row;
 * within a half sines come before cosines.
 *
 * @param hiddenSize D, divisible by 4
 * @param grid rows and columns
 * @param trained rows and columns that the model was trained with (default `grid`); positions are interpolated to them
 * @returns `[rows * columns, D]` row-major
 */
export function positionEmbedding(
  hiddenSize: number,
  grid: readonly [number, number],
  trained: readonly [number, number] = grid,
): Float64Array {
  const [rows, columns] = grid;
  const [y, x] = [trained[0] / rows, trained[1] / columns];
  const quarter = hiddenSize / 4;
  const table = new Float64Array(rows * columns * hiddenSize);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const at = (row * columns + column) * hiddenSize;
      for (let i = 0; i < quarter; i++) {
        const frequency = MAX_PERIOD ** (-i / quarter);
        table[at + i] = Math.sin(x * column * frequency);
        table[at + quarter + i] = Math.cos(x * column * frequency);
        table[at + 2 * quarter + i] = Math.sin(y * row * frequency);
        table[at + 3 * quarter + i] = Math.cos(y * row * frequency);
      }
    }
  }
  return table;
}

/**
 * Sinusoidal timestep embedding: cosines, then sines, of `t * 10000^(-i / half)`; an odd size gets a zero last.
 *
 * Angles go up to 1000, where float32 is off by 3e-5 (which the reference accepts). Here whole steps times the leading bits of the
 * frequency are exact, and the small rest is added by the addition theorem, so the error stays near 1e-7.
 *
 * @param t float32 `[B]`, up to 8192
 * @param size number of channels (256 in DiT)
 * @param frequencies `diffusers` spaces them so that the last is 1/10000 (its `downscale_freq_shift` of 1)
 * @returns `[B, size]`
 */
export function timestepEmbedding(t: tf.Tensor, size: number, frequencies: 'dit' | 'diffusers' = 'dit'): tf.Tensor {
  const half = Math.floor(size / 2);
  const steps = frequencies === 'dit' ? half : half - 1;
  const rates = Float64Array.from({ length: half }, (_, i) => MAX_PERIOD ** (-i / steps));
  const leading = rates.map((f) => leadingBits(f));
  const row = (values: Float64Array): tf.Tensor => tf.tensor2d(Float32Array.from(values), [1, half]);
  const column = tf.expandDims(t, 1);
  const whole = tf.floor(column);
  const exact = tf.mul(whole, row(leading)); // [B, half]
  const rest = tf.add(tf.mul(whole, row(rates.map((f, i) => f - leading[i]))), tf.mul(tf.sub(column, whole), row(rates)));
  const [c, s, cRest, sRest] = [tf.cos(exact), tf.sin(exact), tf.cos(rest), tf.sin(rest)];
  const parts = [tf.sub(tf.mul(c, cRest), tf.mul(s, sRest)), tf.add(tf.mul(s, cRest), tf.mul(c, sRest))];
  if (size % 2 === 1) parts.push(tf.mul(column, 0));
  return tf.concat(parts, 1);
}

/** The 11 leading bits of a number in (0, 1]: times an integer below 2^13 it is exact in float32. */
function leadingBits(x: number): number {
  const unit = 2 ** (Math.floor(Math.log2(x)) - 10);
  return Math.floor(x / unit) * unit;
}
