/**
 * Guidance: a prediction pushed away from that of something worse, such as the same model without its label. A wrapper around
 * denoisers that no solver knows of; the rule by which two predictions become one is a function of its own (`rules.ts`).
 */
import { ArgumentError, ShapeError } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import type { Denoiser } from '../denoiser.js';
import type { NoiseLevel } from '../paths.js';
import { extrapolate, type GuidanceRule } from './rules.js';

/** How far a prediction is moved away from a worse one, and where. */
export interface GuidanceOptions {
  /** 1: no guidance; larger: further from the worse prediction. */
  scale: number;
  /**
   * Places `[from, to]` of the path, 0 clean data and 1 noise, at which guidance applies (Kynkäänniemi et al. 2024); outside, the
   * worse prediction is not computed (default: everywhere).
   */
  interval?: readonly [number, number];
  /**
   * Guide only this many leading channels (axis 1); the rest, such as a learned variance, is left as it is. The reference guides
   * 3 of its Gaussian models' latents (default: the channels of the samples).
   */
  channels?: number;
  /** How the two predictions are joined (default: `extrapolate`). */
  rule?: GuidanceRule;
}

/** The good and the worse prediction at a level; the caller disposes of them. */
export type PredictionPair = (x: tf.Tensor, t: tf.Tensor, level: NoiseLevel) => Promise<readonly [tf.Tensor, tf.Tensor]>;

/**
 * A guided denoiser.
 * @param good the prediction without guidance
 * @param pair both predictions
 * @throws ArgumentError if the scale is not finite, the interval is empty, or `channels` is no positive integer
 */
export function guided(good: Denoiser, pair: PredictionPair, options: GuidanceOptions): Denoiser {
  const { scale, interval, channels, rule = extrapolate } = options;
  if (!Number.isFinite(scale)) throw new ArgumentError('guidance: scale', 'a finite number', scale);
  if (interval !== undefined && !(interval[0] <= interval[1]))
    throw new ArgumentError('guidance: interval', '[from, to] with from <= to', interval);
  if (channels !== undefined && !(Number.isInteger(channels) && channels > 0))
    throw new ArgumentError('guidance: channels', 'a positive integer', channels);
  return async (x, t, level) => {
    const outside = interval !== undefined && (level.t < interval[0] || level.t > interval[1]);
    if (scale === 1 || outside) return good(x, t, level);
    const [better, worse] = await pair(x, t, level); // each [B, C, ...] or [B, 2C, ...]
    try {
      if (!tf.util.arraysEqual(better.shape, worse.shape))
        throw new ShapeError('guidance: worse prediction', `[${better.shape}]`, worse.shape);
      return tf.tidy(() => {
        const count = Math.min(channels ?? x.shape[1]!, x.shape[1]!);
        const [first, rest] = splitChannels(better, count); // [B, count, ...], [B, others, ...]
        const joined = rule(first, splitChannels(worse, count)[0], { scale, x: splitChannels(x, count)[0], level });
        return rest === undefined ? joined : tf.concat([joined, rest], 1); // as better
      });
    } finally {
      tf.dispose([better, worse]);
    }
  };
}

function splitChannels(x: tf.Tensor, count: number): readonly [tf.Tensor, tf.Tensor | undefined] {
  const all = x.shape[1]!;
  if (all === count) return [x, undefined];
  const [first, rest] = tf.split(x, [count, all - count], 1);
  return [first, rest];
}
