/** Mean and variance of the groups of channels of a feature map that lies in parts. */
import * as tf from '@tensorflow/tfjs-core';

/**
 * Moments over space and the channels of a group, per channel. Means and squared deviations of the parts give those of the whole
 * without a difference of large sums (Chan, Golub and LeVeque 1983).
 *
 * @param parts `[B, rows, W, C]`
 * @returns each `[B, 1, 1, C]`
 */
export function groupMoments(parts: readonly tf.Tensor[], groups: number): { mean: tf.Tensor; variance: tf.Tensor } {
  const [batch, , , channels] = parts[0].shape as [number, number, number, number];
  const total = parts.reduce((rows, part) => rows + part.shape[1]!, 0);
  const shares = parts.map((part) => part.shape[1]! / total);
  /** Mean over space and group: `[B, 1, C]` of `[B, pixels, C]`. As a matrix product it runs as fast as memory; reductions do not. */
  const groupMean = (y: tf.Tensor): tf.Tensor => {
    const pixels = y.shape[1]!;
    const means = tf.matMul(tf.fill([batch, 1, pixels], 1 / pixels), y);
    const perGroup = tf.mean(tf.reshape(means, [batch, groups, channels / groups]), 2, true);
    return tf.reshape(tf.tile(perGroup, [1, 1, channels / groups]), [batch, 1, channels]);
  };
  const weighted = (values: readonly tf.Tensor[]): tf.Tensor => tf.addN(values.map((value, i) => tf.mul(value, shares[i])));
  const own = parts.map((part) =>
    tf.tidy(() => {
      const flat = tf.reshape(part, [batch, -1, channels]);
      const mean = groupMean(flat);
      return { mean, variance: groupMean(tf.squaredDifference(flat, mean)) };
    }),
  );
  const mean = weighted(own.map((part) => part.mean));
  const variance = weighted(own.map((part) => tf.add(part.variance, tf.squaredDifference(part.mean, mean))));
  const perChannel = (y: tf.Tensor): tf.Tensor => tf.reshape(y, [batch, 1, 1, channels]);
  return { mean: perChannel(mean), variance: perChannel(variance) };
}
