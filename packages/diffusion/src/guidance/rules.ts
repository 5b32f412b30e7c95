/** How a good and a worse prediction become a guided one; all norms are those of one sample. */
import { ArgumentError } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import type { NoiseLevel } from '../paths.js';
import { cleanWeights, type Prediction, velocityWeights } from '../predictions.js';

/** Where a rule is applied. */
export interface GuidancePoint {
  scale: number;
  /** The noisy samples, the shape of the predictions. */
  x: tf.Tensor;
  level: NoiseLevel;
}

/** Joins two predictions `[B, C, ...]`; called inside `tf.tidy`. */
export type GuidanceRule = (good: tf.Tensor, worse: tf.Tensor, at: GuidancePoint) => tf.Tensor;

/** `worse + scale (good - worse)`, classifier-free guidance as it was published. */
export const extrapolate: GuidanceRule = (good, worse, { scale }) => tf.add(worse, tf.mul(scale, tf.sub(good, worse)));

/**
 * CFG-Zero* (Fan et al. 2025) for flow models: the worse velocity is first scaled to the projection of the good one on it; and before
 * the flow has formed the velocity is zero.
 * @param zeroAbove time above which it is zero (default 0.99: the first step of up to 100 uniform ones; 1 for never)
 * @param prediction what the model predicts (default `velocity`): the rule works on the velocities that follow from it
 */
export function cfgZeroStar(zeroAbove = 0.99, prediction: Prediction = 'velocity'): GuidanceRule {
  return (good, worse, at) => {
    const [ofX, ofOutput] = velocityOfOutput(prediction, at.level);
    const isVelocity = prediction === 'velocity';
    const velocity = (output: tf.Tensor): tf.Tensor => (isVelocity ? output : tf.add(tf.mul(at.x, ofX), tf.mul(output, ofOutput)));
    const outputOf = (v: tf.Tensor): tf.Tensor => (isVelocity ? v : tf.div(tf.sub(v, tf.mul(at.x, ofX)), ofOutput));
    if (at.level.t > zeroAbove) return outputOf(tf.zerosLike(good));
    const [better, other] = [velocity(good), velocity(worse)]; // each [B, C, ...]
    const share = tf.div(dot(better, other), tf.add(dot(other, other), 1e-8)); // [B, 1, ...]
    return outputOf(extrapolate(better, tf.mul(other, share), at));
  };
}

/** The weights `[a, b]` with which `velocity = a x + b output`. */
function velocityOfOutput(prediction: Prediction, level: NoiseLevel): readonly [number, number] {
  const [ofX, ofClean] = velocityWeights(level);
  const [inX, inOutput] = cleanWeights(prediction, level);
  return [ofX + ofClean * inX, ofClean * inOutput];
}

/**
 * Guidance rescale (Lin et al. 2024, section 3.4): the guided prediction is brought back towards the standard deviation of the
 * good one, against over-exposure at large scales.
 * @param share how far, 0 to 1 (default 0.7, the paper's)
 * @throws ArgumentError if `share` is outside [0, 1]
 */
export function rescaled(share = 0.7, rule: GuidanceRule = extrapolate): GuidanceRule {
  if (!(share >= 0 && share <= 1)) throw new ArgumentError('rescaled: share', 'a number in [0, 1]', share);
  return (good, worse, at) => {
    const joined = rule(good, worse, at);
    const ratio = tf.sqrt(tf.div(variance(good), tf.add(variance(joined), 1e-12))); // [B, 1, ...]
    return tf.mul(joined, tf.add(tf.mul(ratio, share), 1 - share));
  };
}

/** Adaptive projected guidance: what is kept of the difference. */
export interface ProjectionOptions {
  /** What the model predicts (default `velocity`): the rule works on the clean samples that follow from it. */
  prediction?: Prediction;
  /** Share kept of the difference's part along the good prediction, which saturates (default 0). */
  parallel?: number;
  /** Largest norm of the difference, root mean square per element (default: none). */
  largest?: number;
  /** Weight of the previous steps' differences, negative to push away from them (default 0; the paper's is -0.5 to -0.75). */
  momentum?: number;
}

/** A rule with a memory; `dispose` frees it. */
export interface ProjectionRule extends GuidanceRule {
  dispose(): void;
}

/**
 * Adaptive projected guidance (Sadat et al. 2025): of the difference of the clean samples only the part orthogonal to the good
 * one is enlarged.
 *
 * With momentum the rule remembers the last step of a run, and starts anew when the noise level rises; one rule per run, then.
 * @throws ArgumentError if a number is not finite or `largest` is not positive
 */
export function adaptiveProjection(options: ProjectionOptions = {}): ProjectionRule {
  const { prediction = 'velocity', parallel = 0, largest, momentum = 0 } = options;
  for (const [name, value] of Object.entries({ parallel, momentum }))
    if (!Number.isFinite(value)) throw new ArgumentError(`adaptiveProjection: ${name}`, 'a finite number', value);
  if (largest !== undefined && !(largest > 0)) throw new ArgumentError('adaptiveProjection: largest', 'a positive number', largest);
  let remembered: { difference: tf.Tensor; t: number } | undefined;
  const forget = (): void => {
    remembered?.difference.dispose();
    remembered = undefined;
  };
  const rule: GuidanceRule = (good, worse, { scale, x, level }) => {
    const [ofX, ofOutput] = cleanWeights(prediction, level);
    let difference = tf.mul(tf.sub(good, worse), ofOutput); // of clean samples, [B, C, ...]
    if (momentum !== 0) {
      const fitting = remembered !== undefined && remembered.t > level.t && tf.util.arraysEqual(remembered.difference.shape, x.shape);
      if (fitting) difference = tf.add(difference, tf.mul(remembered!.difference, momentum));
      forget();
      remembered = { difference: tf.keep(difference.clone()), t: level.t };
    }
    if (largest !== undefined) {
      const size = tf.sqrt(tf.div(dot(difference, difference), difference.size / difference.shape[0])); // [B, 1, ...]
      difference = tf.mul(difference, tf.minimum(1, tf.div(largest, tf.add(size, 1e-12))));
    }
    const clean = tf.add(tf.mul(x, ofX), tf.mul(good, ofOutput)); // [B, C, ...]
    const along = tf.mul(clean, tf.div(dot(difference, clean), tf.add(dot(clean, clean), 1e-12))); // [B, C, ...]
    const update = tf.add(tf.sub(difference, along), tf.mul(along, parallel));
    return tf.add(good, tf.mul(update, (scale - 1) / ofOutput));
  };
  return Object.assign(rule, { dispose: forget });
}

/** Scalar products of the samples, `[B, 1, ...]`. */
function dot(a: tf.Tensor, b: tf.Tensor): tf.Tensor {
  return tf.sum(tf.mul(a, b), axes(a), true);
}

function variance(x: tf.Tensor): tf.Tensor {
  return tf.mean(tf.square(tf.sub(x, tf.mean(x, axes(x), true))), axes(x), true);
}

function axes(x: tf.Tensor): number[] {
  return x.shape.slice(1).map((_, axis) => axis + 1);
}
