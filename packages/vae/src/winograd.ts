/**
 * Convolutions of 3 x 3 taps with two thirds of the products, for inference on the TensorFlow runtime: Winograd's minimal filtering
 * F(2, 3) along the columns of an image (Lavin and Gray 2016). Two rows of the output come from four convolutions of 1 x 3 taps instead of
 * six; what they see and what becomes of their outputs are sums of rows.
 */
import { after, conv2d, padMaps, stackMaps, tensorFlowBackend } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';

/** Fewest channels with which the products saved are more than the sums added, measured on an AMD processor (Zen 4). */
const MIN_CHANNELS = 128;

/** Whether it pays for this filter of stride 1, `[3, 3, Cin, Cout]`, on this backend. */
export const winogradPays = ([rows, columns, inputs, outputs]: readonly number[]): boolean =>
  tensorFlowBackend()?.isUsingGpuDevice === false && rows === 3 && columns === 3 && Math.min(inputs, outputs) >= MIN_CHANNELS;

/**
 * The filters of the four convolutions.
 * @param filter `[3, 3, Cin, Cout]`
 * @returns each `[1, 3, Cin, Cout]`
 */
export function winogradFilters(filter: tf.Tensor): tf.Tensor[] {
  return tf.tidy(() => {
    const [above, middle, below] = tf.split(filter, 3, 0) as [tf.Tensor, tf.Tensor, tf.Tensor];
    const [outer, inner] = [tf.mul(tf.add(above, below), 0.5), tf.mul(middle, 0.5)];
    return [above, tf.add(outer, inner), tf.sub(outer, inner), below];
  });
}

/**
 * The convolution of stride 1, in what `x` is in: float32 or raw bfloat16. It has no gradient.
 *
 * @param x `[B, H, W, Cin]`
 * @param filters of {@link winogradFilters}, packed or not
 * @param zeros rows of zeros above and below; left and right there is a column of them
 * @returns `[B, H', W, Cout]`
 */
export function convolveWinograd(
  x: tf.Tensor,
  filters: readonly tf.Tensor[],
  bias: tf.Tensor,
  [above, below]: readonly [number, number],
): tf.Tensor {
  const [batch, height, width, channels] = x.shape as [number, number, number, number];
  const rows = height + above + below - 2;
  const pairs = Math.ceil(rows / 2);
  // Of an odd number of rows the last pair has one that is cut off in the end.
  const padded = padMaps(tf.reshape(x, [batch, height, width * channels]), [
    [0, 0],
    [above, below + 2 * pairs - rows],
    [0, 0],
  ]);
  const [firsts, seconds] = tf.unstack(tf.reshape(padded, [batch, pairs + 1, 2, width * channels]), 2) as [tf.Tensor, tf.Tensor];
  /** Every row but the last, or but the first; a slice of the first axis is no copy, so that of one image is made there. */
  const shifted = (y: tf.Tensor, from: 0 | 1): tf.Tensor =>
    batch === 1
      ? tf.slice(tf.reshape(y, [pairs + 1, width * channels]), [from, 0], [pairs, -1])
      : tf.slice(y, [0, from, 0], [-1, pairs, -1]);
  // The four rows that a pair of rows of the output sees.
  const [d0, d1, d2, d3] = [shifted(firsts, 0), shifted(seconds, 0), shifted(firsts, 1), shifted(seconds, 1)];
  const product = (y: tf.Tensor, i: number, b?: tf.Tensor): tf.Tensor =>
    conv2d(tf.reshape(y, [batch, pairs, width, channels]), filters[i], { bias: b });
  // One after the other: each keeps every core busy, and the rows of four at once would take twice the memory.
  const m1 = product(tf.add(d1, d2), 1);
  const m2 = product(tf.sub(after(d2, m1), d1), 2);
  const [total, difference] = [tf.add(m1, m2), tf.sub(m1, m2)];
  // The runtime takes the outer sums into the convolutions.
  const first = tf.add(product(tf.sub(after(d0, m2), d2), 0, bias), total);
  const second = tf.add(product(tf.sub(after(d3, first), d1), 3, bias), difference);
  const whole = tf.reshape(stackMaps([first, second], 2), [batch, 2 * pairs, width, bias.shape[0]]);
  return rows % 2 === 0 ? whole : tf.slice(whole, [0, 0, 0, 0], [-1, rows, -1, -1]);
}
