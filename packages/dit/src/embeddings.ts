/** Frozen position and timestep embeddings, as the reference computes them. */
import * as tf from '@tensorflow/tfjs-core';

const MAX_PERIOD = 10_000;

/**
 * 2-D sine-cosine positions (MAE's, as DiT uses them): the first half of the channels encodes the column, the second the row;
 * within a half sines come before cosines.
 *
 * @param hiddenSize D, divisible by 4
 * @param grid rows and columns
 * @returns `[rows * columns, D]` row-major
 */
export function positionEmbedding(hiddenSize: number, grid: readonly [number, number]): Float64Array {
  const [rows, columns] = grid;
  const quarter = hiddenSize / 4;
  const table = new Float64Array(rows * columns * hiddenSize);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const at = (row * columns + column) * hiddenSize;
      for (let i = 0; i < quarter; i++) {
        const frequency = MAX_PERIOD ** (-i / quarter);
        table[at + i] = Math.sin(column * frequency);
        table[at + quarter + i] = Math.cos(column * frequency);
        table[at + 2 * quarter + i] = Math.sin(row * frequency);
        table[at + 3 * quarter + i] = Math.cos(row * frequency);
      }
    }
  }
  return table;
}

/**
 * Sinusoidal timestep embedding: cosines, then sines, of `t * 10000^(-i / half)`; an odd size gets a zero last.
 *
 * @param t float32 `[B]`
 * @param size number of channels (256 in DiT)
 * @returns `[B, size]`
 */
export function timestepEmbedding(t: tf.Tensor, size: number): tf.Tensor {
  const half = Math.floor(size / 2);
  const frequencies = tf.tensor2d(
    Float32Array.from({ length: half }, (_, i) => Math.exp((-Math.log(MAX_PERIOD) * i) / half)),
    [1, half],
  );
  const angles = tf.mul(tf.expandDims(t, 1), frequencies); // [B, half]
  const parts = [tf.cos(angles), tf.sin(angles)];
  if (size % 2 === 1) parts.push(tf.mul(tf.slice(angles, [0, 0], [-1, 1]), 0));
  return tf.concat(parts, 1);
}
