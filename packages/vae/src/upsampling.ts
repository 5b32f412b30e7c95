/**
 * A 3 x 3 convolution of an image whose every pixel was doubled in both directions, without doubling it: each output sees only 2 x 2
 * pixels, so the filters of the four positions within a pair of rows and columns are sums of taps, and 4/9 of the products remain.
 * (Sub-pixel convolution, Shi et al. 2016, read backwards.)
 */
import { conv2d, type Padding, type Precision, stackMaps } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';

/** Position within a pair of rows and within a pair of columns. */
export const phases = [
  [0, 0],
  [0, 1],
  [1, 0],
  [1, 1],
] as const;

/**
 * Filters of the four {@link phases}.
 * @param filter `[3, 3, Cin, Cout]`
 * @returns each `[2, 2, Cin, Cout]`
 */
export function phaseFilters(filter: tf.Tensor): tf.Tensor[] {
  return phases.map(([row, column]) => tf.tidy(() => summedTaps(summedTaps(filter, 0, row), 1, column)));
}

/** The first output of a pair sees one pixel before it and twice itself; the second twice itself and one pixel behind it. */
function summedTaps(filter: tf.Tensor, axis: number, phase: 0 | 1): tf.Tensor {
  const [first, middle, last] = tf.split(filter, 3, axis) as [tf.Tensor, tf.Tensor, tf.Tensor];
  return tf.concat(phase === 0 ? [first, tf.add(middle, last)] : [tf.add(first, middle), last], axis);
}

/**
 * @param x `[B, H, W, Cin]`
 * @param filters of {@link phaseFilters}, packed or not
 * @param rows zeros above and below; 1 each for a whole image, 0 where x has the neighbouring row of a strip
 * @returns `[B, 2 H', 2 W, Cout]`, where H' is the number of rows that have both neighbours
 */
export function convolveDoubled(
  x: tf.Tensor,
  filters: readonly tf.Tensor[],
  bias: tf.Tensor,
  rows: readonly [number, number],
  precision: Precision | undefined,
): tf.Tensor {
  const [batch, height, width, channels] = x.shape as [number, number, number, number];
  const [above, below] = rows;
  const parts = phases.map(([row, column], i) => {
    // The first row of a pair does not see the row below it, the second not the one above: a row of zeros or of the strip's neighbour.
    const [from, to] = row === 0 ? [0, height - (1 - below)] : [1 - above, height];
    const seen = to - from === height ? x : tf.slice(x, [0, from, 0, 0], [batch, to - from, width, channels]);
    const padding: Padding = [row === 0 ? [above, 0] : [0, below], column === 0 ? [1, 0] : [0, 1]];
    return conv2d(seen, filters[i], { padding, bias, precision });
  });
  const [first, second] = [0, 2].map((i) => stackMaps([parts[i], parts[i + 1]], 3)) as [tf.Tensor, tf.Tensor]; // [B, H', W, 2, C]
  const [pairs, outputs] = [height + above + below - 2, bias.shape[0]];
  const both = stackMaps(
    [first, second].map((row) => tf.reshape(row, [batch, pairs, 2 * width, outputs])),
    2,
  ); // [B, H', 2, 2 W, C]
  return tf.reshape(both, [batch, 2 * pairs, 2 * width, outputs]);
}
