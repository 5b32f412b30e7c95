/**
 * Guidance: wrappers that turn a conditional model into a denoiser, whatever the solver.
 *
 * Classifier-free guidance (Ho and Salimans 2022), limited to an interval of times on request (Kynkäänniemi et al. 2024).
 */
import { ArgumentError } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import type { ConditionalDenoiser, Denoiser } from './denoiser.js';

export interface GuidanceOptions {
  /** Labels of the samples, int32 `[B]`. */
  labels: tf.Tensor;
  /** The label that means "no class", or one such label per sample, int32 `[B]`. */
  nullLabel: number | tf.Tensor;
  /** 1: the conditional model alone; larger: further from the unconditional prediction. */
  scale: number;
  /** Times `[from, to]` in which guidance applies; outside, the unconditional half is not computed (default: always). */
  interval?: readonly [number, number];
  /** Guide only this many leading channels (axis 1), as the reference does with 3; the rest stays conditional (default: all). */
  channels?: number;
}

/**
 * Guided predictions `uncond + scale (cond - uncond)`; both halves run as one batch of 2B.
 * @throws ArgumentError if the scale is not finite or the interval is empty
 */
export function classifierFreeGuidance(model: ConditionalDenoiser, options: GuidanceOptions): Denoiser {
  const { labels, nullLabel, scale, interval, channels } = options;
  if (!Number.isFinite(scale)) throw new ArgumentError('classifierFreeGuidance: scale', 'a finite number', scale);
  if (interval !== undefined && !(interval[0] <= interval[1]))
    throw new ArgumentError('classifierFreeGuidance: interval', '[from, to] with from <= to', interval);
  const nulls = () => (typeof nullLabel === 'number' ? tf.fill([tf.util.sizeFromShape(labels.shape)], nullLabel, 'int32') : nullLabel);
  return async (x, t, time) => {
    if (scale === 1) return model(x, t, labels);
    if (interval !== undefined) {
      if (time < interval[0] || time > interval[1]) return model(x, t, labels);
    }
    const [x2, t2, y2] = tf.tidy(() => [tf.concat([x, x]), tf.concat([t, t]), tf.concat([labels, nulls()])]);
    const both = await model(x2!, t2!, y2!);
    const guided = tf.tidy(() => {
      const [conditional, unconditional] = tf.split(both, 2, 0) as [tf.Tensor, tf.Tensor];
      const mix = tf.add(unconditional, tf.mul(scale, tf.sub(conditional, unconditional)));
      if (channels === undefined || channels >= x.shape[1]!) return mix;
      const rest = x.shape[1]! - channels;
      return tf.concat([tf.split(mix, [channels, rest], 1)[0]!, tf.split(conditional, [channels, rest], 1)[1]!], 1);
    });
    tf.dispose([x2!, t2!, y2!, both]);
    return guided;
  };
}
