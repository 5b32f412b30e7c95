/**
 * Rotary positions in two dimensions (Su et al. 2021), as LightningDiT and EVA-02 have them: the first half of a head's channels
 * is rotated by the row, the second by the column, neighbouring channels forming pairs.
 */
import { customGradient } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';

const THETA = 10_000;

/** Cosine and sine of the angle of every channel: `[rows * columns, headSize]` each, row-major. */
export interface Rotation {
  cos: tf.Tensor;
  sin: tf.Tensor;
}

/**
 * @param headSize divisible by 4
 * @param grid rows and columns
 * @param trained rows and columns that the model was trained with (default `grid`); positions are interpolated to them
 */
export function rotation(headSize: number, grid: readonly [number, number], trained?: readonly [number, number]): Rotation {
  const { cos, sin } = rotationTables(headSize, grid, trained);
  const shape: [number, number] = [grid[0] * grid[1], headSize];
  return { cos: tf.tensor2d(cos, shape), sin: tf.tensor2d(sin, shape) };
}

/** The same in host memory. */
export function rotationTables(headSize: number, grid: readonly [number, number], trained: readonly [number, number] = grid) {
  const half = headSize / 2;
  const angles = Array.from({ length: grid[0] * grid[1] * headSize }, (_, at) => {
    const [token, channel] = [Math.floor(at / headSize), at % headSize];
    const axis = channel < half ? 0 : 1;
    const position = axis === 0 ? Math.floor(token / grid[1]) : token % grid[1];
    return ((position * trained[axis]) / grid[axis]) * THETA ** (-(2 * Math.floor((channel % half) / 2)) / half);
  });
  return { cos: Float32Array.from(angles, Math.cos), sin: Float32Array.from(angles, Math.sin) };
}

/** The same behind `count` tokens that have no place, so that they are not rotated. */
export const behindUnrotated = ({ cos, sin }: Rotation, count: number): Rotation => ({
  cos: tf.pad(
    cos,
    [
      [count, 0],
      [0, 0],
    ],
    1,
  ), // [count + T, d]
  sin: tf.pad(sin, [
    [count, 0],
    [0, 0],
  ]), // [count + T, d]
});

/**
 * Rotates every pair of channels.
 * @param x `[B, H, T, d]`
 */
export function rotate(x: tf.Tensor, { cos, sin }: Rotation): tf.Tensor {
  return customGradient(
    [x],
    ([x]) => ({ value: tf.add(tf.mul(x, cos), tf.mul(quarterTurn(x), sin)), saved: [cos, sin] }),
    // A rotation's transpose turns back.
    (dy, [cos, sin]) => [tf.sub(tf.mul(dy, cos), tf.mul(quarterTurn(dy), sin))],
  );
}

/** `(a, b)` of every pair becomes `(-b, a)`. */
function quarterTurn(x: tf.Tensor): tf.Tensor {
  const [a, b] = tf.split(tf.reshape(x, [-1, 2]), 2, 1) as [tf.Tensor, tf.Tensor];
  return tf.reshape(tf.concat([tf.neg(b), a], 1), x.shape);
}
