/**
 * Training of flow models: squared error of what the model predicts, and two terms that are known to help: the cosine of the
 * velocity (LightningDiT, Yao et al. 2025) and contrastive flow matching (Stoica et al. 2025).
 */
import { ArgumentError, ShapeError } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import type { FlowOptions } from './diffusion-model.js';
import { type PathName, pathLevels } from './paths.js';
import { firstChannels, meanPerSample, perSample } from './per-sample.js';
import { checkTimesInRange } from './times-in-range.js';
import { checkWord } from './words.js';

/** Each `[B]`. */
export interface FlowLosses {
  loss: tf.Tensor;
  /** Weighted squared error. */
  mse: tf.Tensor;
  /** One minus the cosine between predicted and true velocity over the channels. */
  cosine?: tf.Tensor;
  /** Squared error against the target of another sample of the batch, which `loss` wants large. */
  contrast?: tf.Tensor;
}

/** The loss of a flow model. */
export interface FlowLossOptions extends FlowOptions {
  /**
   * Weight of the error over time: `velocity` makes it that of the velocity which follows (SiT for noise and score; for the clean sample
   * JiT, Li and He 2025), `likelihood` is SiT's for noise and score, `none` the default.
   */
  weighting?: 'none' | 'velocity' | 'likelihood';
  /** Times below it weigh as it does, for models of the clean sample with the velocity's weight (default 0.05, JiT's). */
  timeFloor?: number;
  /** Weight of the cosine term (default 0; LightningDiT: 1); only for velocity models. */
  cosine?: number;
  /** Weight of the contrastive term (default 0; the paper's is 0.05); only for velocity models. */
  contrast?: number;
}

/**
 * The noisy samples at times `t`.
 * @param clean `[B, ...]`
 * @param noise standard normal, the shape of `clean`
 * @param t `[B]` in [0, 1]
 */
export function flowNoisy(clean: tf.Tensor, noise: tf.Tensor, t: tf.Tensor, { path = 'linear' }: FlowOptions = {}): tf.Tensor {
  sameShape('flowNoisy: noise', clean, noise);
  const { alpha, sigma } = levelsAt(path, t, clean); // each [B, 1, ...]
  return tf.add(tf.mul(alpha, clean), tf.mul(sigma, noise)); // [B, C, ...]
}

/**
 * Losses of a model's output for `flowNoisy(clean, noise, t)`.
 * @param output the shape of `clean`, or twice its channels, of which the second half is ignored
 */
export function flowLosses(output: tf.Tensor, clean: tf.Tensor, noise: tf.Tensor, t: tf.Tensor, options: FlowLossOptions = {}): FlowLosses {
  const { path = 'linear', prediction = 'velocity', weighting = 'none', timeFloor = 0.05, cosine = 0, contrast = 0 } = options;
  checkFlowLossOptions(options);
  sameShape('flowLosses: noise', clean, noise);
  const predicted = firstChannels('flowLosses: output', output, clean); // [B, C, ...]
  const { alpha, sigma, dAlpha, dSigma } = levelsAt(path, t, clean); // each [B, 1, ...] or []
  if (prediction === 'start') {
    const error = meanPerSample(tf.squaredDifference(predicted, clean)); // [B]
    const mse = weighting === 'velocity' ? tf.mul(error, velocityWeight(path, t, timeFloor)) : error; // [B]
    return { loss: mse, mse };
  }
  if (prediction !== 'velocity') {
    // A score model's error is that of the noise it implies, as the score itself has no bound.
    const error = prediction === 'noise' ? tf.sub(predicted, noise) : tf.add(tf.mul(predicted, sigma), noise);
    const drift = tf.sub(tf.mul(sigma, dSigma), tf.mul(tf.div(dAlpha, alpha), tf.square(sigma))); // [B, 1, ...]
    const squared = tf.square(weighting === 'velocity' ? tf.mul(error, tf.div(drift, sigma)) : error); // [B, C, ...]
    const mse = meanPerSample(weighting === 'likelihood' ? tf.mul(squared, tf.div(drift, tf.square(sigma))) : squared); // [B]
    return { loss: mse, mse };
  }
  const target = tf.add(tf.mul(dAlpha, clean), tf.mul(dSigma, noise)); // [B, C, ...]
  const terms: FlowLosses = { mse: meanPerSample(tf.squaredDifference(predicted, target)), loss: tf.scalar(0) };
  terms.loss = terms.mse;
  if (cosine !== 0) {
    terms.cosine = meanPerSample(tf.sub(1, cosineOverChannels(predicted, target))); // [B]
    terms.loss = tf.add(terms.loss, tf.mul(terms.cosine, cosine));
  }
  if (contrast !== 0) {
    const batch = clean.shape[0];
    if (batch < 2) throw new ShapeError('flowLosses: contrast', 'at least two samples', clean.shape);
    const [first, rest] = tf.split(target, [1, batch - 1], 0) as [tf.Tensor, tf.Tensor]; // [1, C, ...], [B - 1, C, ...]
    terms.contrast = meanPerSample(tf.squaredDifference(predicted, tf.concat([rest, first], 0))); // [B]
    terms.loss = tf.sub(terms.loss, tf.mul(terms.contrast, contrast));
  }
  return terms;
}

/**
 * @throws ArgumentError on an unknown prediction or weighting, or terms of the velocity for another prediction
 */
export function checkFlowLossOptions(options: FlowLossOptions): void {
  const { prediction = 'velocity', weighting = 'none', timeFloor = 0.05, cosine = 0, contrast = 0 } = options;
  checkWord('flow: prediction', prediction, ['velocity', 'noise', 'score', 'start']);
  checkWord('flow: weighting', weighting, ['none', 'velocity', 'likelihood']);
  if (prediction === 'start' && weighting === 'likelihood')
    throw new ArgumentError('flow: weighting', 'none or velocity for a model of the clean sample', weighting);
  if (!(timeFloor > 0 && timeFloor < 1)) throw new ArgumentError('flow: timeFloor', 'a number in (0, 1)', timeFloor);
  if (!(cosine >= 0 && contrast >= 0)) throw new ArgumentError('flow: cosine, contrast', 'numbers >= 0', [cosine, contrast]);
  if ((cosine > 0 || contrast > 0) && prediction !== 'velocity')
    throw new ArgumentError('flow: cosine, contrast', 'a model of the velocity', prediction);
}

/**
 * Squared factor from the error of the clean sample to that of the velocity, `((sigma dAlpha - alpha dSigma) / sigma)^2`, `[B]`: on the
 * linear path `1 / max(t, floor)^2`.
 */
function velocityWeight(path: PathName, t: tf.Tensor, floor: number): tf.Tensor {
  const { alpha, sigma, dAlpha, dSigma } = pathLevels(path, tf.maximum(t, floor)); // each [B] or []
  return tf.square(tf.div(tf.sub(tf.mul(sigma, dAlpha), tf.mul(alpha, dSigma)), sigma));
}

/** Norms below this count as it, so that a vanishing prediction has a gradient (PyTorch's value). */
const SMALLEST_NORM = 1e-8;

/** Cosines over axis 1, which is dropped. */
function cosineOverChannels(a: tf.Tensor, b: tf.Tensor): tf.Tensor {
  const product = (x: tf.Tensor, y: tf.Tensor) => tf.sum(tf.mul(x, y), 1);
  const square = (x: tf.Tensor) => tf.maximum(product(x, x), SMALLEST_NORM ** 2);
  return tf.div(product(a, b), tf.sqrt(tf.mul(square(a), square(b)))); // [B, ...] without C
}

function levelsAt(path: PathName, t: tf.Tensor, x: tf.Tensor): ReturnType<typeof pathLevels> {
  const times = perSample('flow', t, x);
  checkTimesInRange('flow: t', t, 1);
  return pathLevels(path, times);
}

function sameShape(operation: string, expected: tf.Tensor, found: tf.Tensor): void {
  if (!tf.util.arraysEqual(expected.shape, found.shape)) throw new ShapeError(operation, `[${expected.shape}]`, found.shape);
}
