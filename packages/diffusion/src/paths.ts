/**
 * Paths from clean data at t = 0 to noise at t = 1: `x = alpha clean + sigma noise`.
 *
 * Linear, GVP and VP are those of SiT (Ma et al. 2024, section 2.1; there with t reversed). A Gaussian diffusion is the GVP path,
 * told other times: with `alpha = cos(t pi/2)` its v-prediction is the velocity, and every flow solver serves it.
 */
import { ArgumentError } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { checkWord } from './words.js';

/** A point of a path. */
export interface NoiseLevel {
  /** Place on the path: 0 clean data, 1 noise. */
  t: number;
  /** What the model is told there: `t` itself, or a training timestep. */
  time: number;
  alpha: number;
  sigma: number;
  /** Derivatives by `t`. */
  dAlpha: number;
  dSigma: number;
}

/** A way from data to noise. */
export interface Path {
  /** @throws ArgumentError if `t` is outside [0, 1] */
  level(t: number): NoiseLevel;
  /** The place at which `log(alpha / sigma)` has a value. */
  placeOf(logRatio: number): number;
  /** The noisiest place, where sampling starts. */
  start: number;
  /** The cleanest place where the model can be asked; a last step leads from there to clean data. */
  end: number;
  /**
   * `steps` places evenly spaced in what the model is told, from `start` downwards, clean data excluded.
   * @param shift above 1 more of them are noisy: `shift t / (1 + (shift - 1) t)` (Esser et al. 2024, section 5.3.2)
   */
  uniform(steps: number, shift?: number): number[];
}

/** Paths of flow models by name. */
export type PathName = 'linear' | 'gvp' | 'vp';

type Curve = (t: number) => Omit<NoiseLevel, 't' | 'time'>;

/** Betas at the ends of the continuous VP path (Song et al. 2021, appendix C). */
const [VP_FIRST_BETA, VP_LAST_BETA] = [0.1, 20];

const QUARTER = Math.PI / 2;

const gvp: Curve = (t) => {
  // Exact at the end, where the cosine would leave 6e-17 of the data.
  const alpha = t === 1 ? 0 : Math.cos(t * QUARTER);
  const sigma = Math.sin(t * QUARTER);
  return { alpha, sigma, dAlpha: -QUARTER * sigma, dSigma: QUARTER * alpha };
};

const curves: Record<PathName, Curve> = {
  linear: (t) => ({ alpha: 1 - t, sigma: t, dAlpha: -1, dSigma: 1 }),
  gvp,
  vp: (t) => {
    const alpha = Math.exp(-0.25 * t * t * (VP_LAST_BETA - VP_FIRST_BETA) - 0.5 * t * VP_FIRST_BETA);
    const sigma = Math.sqrt(1 - alpha * alpha);
    const dAlpha = -0.5 * alpha * (VP_FIRST_BETA + t * (VP_LAST_BETA - VP_FIRST_BETA));
    // sigma grows like the root of t: its derivative at clean data is infinite, and nobody asks the model there.
    return { alpha, sigma, dAlpha, dSigma: sigma === 0 ? Number.POSITIVE_INFINITY : (-alpha * dAlpha) / sigma };
  },
};

/** Levels at times `t` of any shape, for training. */
export function pathLevels(name: PathName, t: tf.Tensor): Record<'alpha' | 'sigma' | 'dAlpha' | 'dSigma', tf.Tensor> {
  checkWord('pathLevels: name', name, Object.keys(curves));
  if (name === 'linear') return { alpha: tf.sub(1, t), sigma: t, dAlpha: tf.scalar(-1), dSigma: tf.scalar(1) };
  if (name === 'gvp') {
    const [alpha, sigma] = [tf.cos(tf.mul(t, QUARTER)), tf.sin(tf.mul(t, QUARTER))];
    return { alpha, sigma, dAlpha: tf.mul(sigma, -QUARTER), dSigma: tf.mul(alpha, QUARTER) };
  }
  const range = VP_LAST_BETA - VP_FIRST_BETA;
  const logAlpha = tf.mul(t, tf.sub(tf.mul(t, -0.25 * range), 0.5 * VP_FIRST_BETA));
  const alpha = tf.exp(logAlpha);
  // expm1 keeps the digits of sigma near clean data.
  const sigma = tf.sqrt(tf.neg(tf.expm1(tf.mul(logAlpha, 2))));
  const dAlpha = tf.mul(tf.mul(alpha, -0.5), tf.add(tf.mul(t, range), VP_FIRST_BETA));
  return { alpha, sigma, dAlpha, dSigma: tf.div(tf.mul(tf.neg(alpha), dAlpha), sigma) };
}

const places: Record<PathName, (logRatio: number) => number> = {
  linear: (l) => 1 / (1 + Math.exp(l)),
  gvp: (l) => Math.atan(Math.exp(-l)) / QUARTER,
  vp(l) {
    // log alpha = -0.5 log(1 + exp(-2l)) is a quadratic in t.
    const [a, b, c] = [0.25 * (VP_LAST_BETA - VP_FIRST_BETA), 0.5 * VP_FIRST_BETA, -0.5 * Math.log1p(Math.exp(-2 * l))];
    return Math.min(1, (-b + Math.sqrt(b * b - 4 * a * c)) / (2 * a));
  },
};

/** `t` with more of the noisy places. */
export function shifted(t: number, shift: number): number {
  return (shift * t) / (1 + (shift - 1) * t);
}

/**
 * A path by name; the model is told `t` itself.
 * @param start noisiest place (default 1)
 * @param end cleanest place where the model can be asked (default 0)
 * @throws ArgumentError on an unknown name or unless `0 <= end < start <= 1`
 */
export function flowPath(name: PathName, start = 1, end = 0): Path {
  checkWord('flowPath: name', name, Object.keys(curves));
  if (!(0 <= end && end < start && start <= 1)) throw new ArgumentError('flowPath: start, end', '0 <= end < start <= 1', [start, end]);
  return {
    start,
    end,
    placeOf: places[name],
    uniform: (steps, shift = 1) => Array.from({ length: steps }, (_, i) => shifted(start * (1 - i / steps), shift)),
    level: (t) => ({ t: checkPlace(t), time: t, ...curves[name](t) }),
  };
}

/** `log(alpha / sigma)` of a level: infinite at clean data, negative infinity at pure noise. */
export function logRatio({ alpha, sigma }: NoiseLevel): number {
  return Math.log(alpha) - Math.log(sigma);
}

/** The level of the GVP path at `t`, at which the model is told `time`. */
export function gvpLevel(t: number, time: number): NoiseLevel {
  return { t: checkPlace(t), time, ...gvp(t) };
}

/** The place on the GVP path at which `log(alpha / sigma)` has a value. */
export const gvpPlace = places.gvp;

function checkPlace(t: number): number {
  if (!(t >= 0 && t <= 1)) throw new ArgumentError('path: t', 'a number in [0, 1]', t);
  return t;
}
