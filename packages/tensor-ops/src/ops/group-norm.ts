/** Group normalisation (Wu and He 2018) of channels-last images. */
import * as tf from '@tensorflow/tfjs-core';
import { ArgumentError } from '../errors.js';
import { DataType, type TensorFlowBackend, tensorFlowBackend } from '../tensorflow-backend.js';
import { customGradient } from './custom-gradient.js';
import { widen } from './products.js';
import { batchMatMul } from './raw-math.js';
import { isRounded, roundMaps } from './rounded-maps.js';

/** Scale, shift and activation of a group norm. */
export interface GroupNormOptions {
  /** `[C]` (default: none). */
  scale?: tf.Tensor;
  /** `[C]` (default: none). */
  bias?: tf.Tensor;
  /** Added to the variance (default 1e-6, as Stable Diffusion's autoencoder; PyTorch's own default is 1e-5). */
  epsilon?: number;
}

/**
 * Normalises each group of channels over space.
 *
 * @param x `[B, H, W, C]`; the result is raw bfloat16 and has no gradient if `x` is, statistics are float32 always
 * @param groups must divide C
 * @throws ArgumentError if it does not
 */
export function groupNorm(x: tf.Tensor, groups: number, options: GroupNormOptions = {}): tf.Tensor {
  const [batch, height, width, channels] = x.shape as [number, number, number, number];
  if (!Number.isInteger(groups) || groups < 1 || channels % groups !== 0)
    throw new ArgumentError('groupNorm: groups', `a divisor of ${channels} channels`, groups);
  const { scale, bias, epsilon = 1e-6 } = options;
  const perGroup = channels / groups;
  const pixels = height * width;
  const flat = [batch, pixels, channels];
  const backend = tensorFlowBackend();
  if (backend !== undefined && isRounded(x)) {
    if (batch === 1) return normalizeRounded(backend, x, groups, { scale, bias, epsilon });
    return roundMaps(groupNorm(widen(x), groups, options));
  }

  /** Mean over space: `[B, 1, C]`. As a matrix product it reads memory as fast as the runtime can; its reductions do not. */
  const spaceMean = (y: tf.Tensor): tf.Tensor =>
    backend === undefined ? tf.mean(y, 1, true) : batchMatMul(backend, tf.fill([batch, 1, pixels], 1 / pixels), y);
  /** Mean over space and the channels of a group, one value per channel: `[B, 1, C]`. */
  const groupMean = (y: tf.Tensor): tf.Tensor => {
    const means = tf.mean(tf.reshape(spaceMean(y), [batch, groups, perGroup]), 2, true); // [B, G, 1]
    return tf.reshape(tf.tile(means, [1, 1, perGroup]), [batch, 1, channels]);
  };
  const forward = () => {
    const input = tf.reshape(x, flat);
    const mean = groupMean(input);
    const variance = groupMean(tf.squaredDifference(input, mean));
    const reciprocal = tf.rsqrt(tf.add(variance, epsilon)); // [B, 1, C]
    const factor = scale === undefined ? reciprocal : tf.mul(reciprocal, scale);
    const shift = tf.neg(tf.mul(mean, factor));
    // One product and one sum per number: scale and bias go into the numbers per channel.
    const value = tf.add(tf.mul(input, factor), bias === undefined ? shift : tf.add(shift, bias));
    return { value: tf.reshape(value, x.shape), saved: [input, mean, reciprocal, scale] as const };
  };
  return customGradient([x, scale, bias], forward, (dy, [input, mean, reciprocal, scale]) => {
    const d = tf.reshape(dy, flat);
    const normal = tf.mul(tf.sub(input, mean), reciprocal);
    const dNormal = scale === undefined ? d : tf.mul(d, scale);
    const projected = tf.mul(normal, groupMean(tf.mul(dNormal, normal)));
    const dx = tf.mul(reciprocal, tf.sub(tf.sub(dNormal, groupMean(dNormal)), projected));
    return [tf.reshape(dx, x.shape), scale && tf.sum(tf.mul(d, normal), [0, 1]), bias && tf.sum(d, [0, 1])];
  });
}

/** Of one image: the runtime's batch norm gives the moments of its channels, and with those of the groups one product and one sum per number. */
function normalizeRounded(
  backend: TensorFlowBackend,
  x: tf.Tensor,
  groups: number,
  { scale, bias, epsilon }: GroupNormOptions & { epsilon: number },
): tf.Tensor {
  const [, height, width, channels] = x.shape as [number, number, number, number];
  const perGroup = [groups, channels / groups];
  const types = {
    T: { type: DataType.bfloat16 },
    U: { type: DataType.float32 },
    data_format: { string: 'NHWC' },
    epsilon: { float: epsilon },
  };
  const batchNorm = (inputs: tf.Tensor[], training: boolean): tf.Tensor[] =>
    backend.raw('FusedBatchNormV3', [x, ...inputs], { ...types, is_training: { bool: training } }, 6);
  const [ones, zeros, none] = [tf.ones([channels]), tf.zeros([channels]), tf.zeros([0])];
  const [, mean, unbiased] = batchNorm([ones, zeros, none, none], true);
  const pixels = height * width;
  const means = tf.reshape(mean, perGroup);
  const groupMean = tf.mean(means, 1, true); // [G, 1]
  const within = tf.mul(tf.reshape(unbiased, perGroup), Math.max(1, pixels - 1) / pixels);
  const variance = tf.mean(tf.add(within, tf.squaredDifference(means, groupMean)), 1, true);
  const perChannel = (y: tf.Tensor): tf.Tensor => tf.reshape(tf.tile(y, [1, channels / groups]), [channels]);
  return batchNorm([scale ?? ones, bias ?? zeros, perChannel(groupMean), perChannel(variance)], false)[0];
}
