/**
 * What a model may predict, and how one kind follows from another: every prediction is `clean * p + noise * q` at its level,
 * and `x = clean * alpha + noise * sigma`.
 */
import type { NoiseLevel } from './paths.js';

/**
 * - `velocity`: the derivative of `x` by t (Lipman et al. 2023)
 * - `noise`: the noise (Ho et al. 2020)
 * - `score`: the gradient of the log density, `-noise / sigma`
 * - `start`: the clean sample
 * - `v`: `alpha noise - sigma clean` (Salimans and Ho 2022); on the GVP path, and so for Gaussian diffusion, the velocity by another
 *   measure of time
 */
export type Prediction = 'velocity' | 'noise' | 'score' | 'start' | 'v';

/** The weights `[p, q]` of clean sample and noise in a prediction. */
export function predictionWeights(prediction: Prediction, level: NoiseLevel): readonly [number, number] {
  switch (prediction) {
    case 'velocity':
      return [level.dAlpha, level.dSigma];
    case 'noise':
      return [0, 1];
    case 'score':
      return [0, -1 / level.sigma];
    case 'start':
      return [1, 0];
    case 'v':
      return [-level.sigma, level.alpha];
  }
}

/** The weights `[a, b]` with which `clean = a x + b output`. */
export function cleanWeights(prediction: Prediction, level: NoiseLevel): readonly [number, number] {
  const [p, q] = predictionWeights(prediction, level);
  const { alpha, sigma } = level;
  const determinant = sigma * p - alpha * q;
  return [-q / determinant, sigma / determinant];
}

/** The weights of samples and predicted clean samples in the velocity: `dAlpha clean + dSigma noise`. */
export function velocityWeights({ alpha, sigma, dAlpha, dSigma }: NoiseLevel): readonly [number, number] {
  return [dSigma / sigma, dAlpha - (dSigma * alpha) / sigma];
}
