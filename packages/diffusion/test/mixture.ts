/**
 * A mixture of three normal distributions in the plane: the problem on which solvers are measured, because its denoiser is
 * known in closed form. Float64 on the host, so that errors of solvers are not errors of float32.
 */
import { randomNormal, randomUniform } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import {
  type Denoiser,
  type DiffusionModel,
  type FlowOptions,
  flowModel,
  type GaussianDiffusionOptions,
  gaussianModel,
  type LinearStep,
  type NoiseLevel,
  predictionWeights,
} from '../src/index.js';

export const MEANS = [
  [-1, -0.5],
  [1, -0.5],
  [0, 1],
] as const;
export const DEVIATION = 0.3;

/** `count` points of the standard normal distribution, as x and y in turn. */
export function normalPoints(count: number, seed = 1): Float64Array {
  return Float64Array.from(randomNormal({ seed, purpose: 'mixture.normal', index: 0 }, 2 * count));
}

/** `count` points of the mixture. */
export function mixturePoints(count: number, seed = 1): Float64Array {
  const normal = normalPoints(count, seed + 1000);
  const choice = randomUniform({ seed, purpose: 'mixture.component', index: 0 }, count);
  return normal.map((z, i) => MEANS[Math.floor(choice[i >> 1] * MEANS.length)][i % 2] + DEVIATION * z);
}

/** The expected clean point given `x = alpha clean + sigma noise`. */
export function exactClean(x: ArrayLike<number>, { alpha, sigma }: Pick<NoiseLevel, 'alpha' | 'sigma'>): Float64Array {
  const variance = (alpha * DEVIATION) ** 2 + sigma ** 2;
  const pull = (alpha * DEVIATION ** 2) / variance;
  const logits = new Float64Array(MEANS.length);
  const clean = new Float64Array(x.length);
  for (let i = 0; i < x.length; i += 2) {
    for (let k = 0; k < MEANS.length; k++)
      logits[k] = -((x[i] - alpha * MEANS[k][0]) ** 2 + (x[i + 1] - alpha * MEANS[k][1]) ** 2) / (2 * variance);
    const top = Math.max(...logits);
    let [total, meanX, meanY] = [0, 0, 0];
    for (let k = 0; k < MEANS.length; k++) {
      const weight = Math.exp(logits[k] - top);
      total += weight;
      meanX += weight * MEANS[k][0];
      meanY += weight * MEANS[k][1];
    }
    clean[i] = meanX / total + pull * (x[i] - (alpha * meanX) / total);
    clean[i + 1] = meanY / total + pull * (x[i + 1] - (alpha * meanY) / total);
  }
  return clean;
}

/** The exact model of the mixture in terms of what a kind of model predicts. */
function exactDenoiser(modelOf: () => DiffusionModel, doubled: boolean): Denoiser {
  return async (x, _t, level) => {
    const model = modelOf();
    const values = await x.data();
    const clean = exactClean(values, level);
    const [p, q] = predictionWeights(model.prediction!, level);
    const noise = (c: number, i: number) => (level.sigma === 0 ? 0 : (values[i] - level.alpha * c) / level.sigma);
    const output = clean.map((c, i) => p * c + (q === 0 ? 0 : q * noise(c, i)));
    const tensor = tf.tensor2d(Float32Array.from(output), x.shape as [number, number]);
    if (!doubled) return tensor;
    // The variance part, all between the two bounds.
    const both = tf.tidy(() => tf.concat([tensor, tf.zerosLike(tensor)], 1));
    tensor.dispose();
    return both;
  };
}

/** The mixture's flow model. */
export function exactFlow(options: FlowOptions = {}): DiffusionModel {
  const model: DiffusionModel = flowModel(
    exactDenoiser(() => model, false),
    options,
  );
  return model;
}

/** The mixture's Gaussian model, with an output for the variance if it is learned. */
export function exactGaussian(options: GaussianDiffusionOptions = {}): DiffusionModel {
  const doubled = ['learned', 'learned-range', undefined].includes(options.varianceType);
  const model: DiffusionModel = gaussianModel(
    exactDenoiser(() => model, doubled),
    options,
  );
  return model;
}

/** What `runSteps` does, in float64: `clean` predicts, `noise` gives the numbers of a step. */
export function runFloat64(
  steps: readonly LinearStep[],
  start: Float64Array,
  clean: (x: Float64Array, level: NoiseLevel) => Float64Array = exactClean,
  noise?: (step: number) => Float64Array,
): Float64Array {
  let x = start.slice();
  let history: Float64Array[] = [];
  let current = false;
  for (const [i, { from, to, perturb = 0, predict, correct, reuse }] of steps.entries()) {
    const fresh = noise?.(i);
    const combine = (weights: LinearStep['predict'], cleans: readonly Float64Array[]) =>
      x.map(
        (value, j) =>
          weights.x * value + weights.clean.reduce((s, w, k) => s + w * cleans[k][j], 0) + (weights.noise ?? 0) * (fresh?.[j] ?? 0),
      );
    if (perturb !== 0) x = x.map((value, j) => value + perturb * fresh![j]);
    if (!current) history = [clean(x, from), ...history];
    let next = combine(predict, history);
    current = false;
    if (correct !== undefined) {
      const there = clean(next, to);
      next = combine(correct, [there, ...history]);
      if (reuse) history = [there, ...history];
      current = reuse === true;
    }
    x = next;
    history = history.slice(0, 4);
  }
  return x;
}

/** Root mean square of the difference. */
export function difference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let total = 0;
  for (let i = 0; i < a.length; i++) total += (a[i] - b[i]) ** 2;
  return Math.sqrt(total / a.length);
}

/** Sliced Wasserstein distance of order 1 of two sets of as many points: the mean over 16 directions of that of their projections. */
export function slicedWasserstein(a: ArrayLike<number>, b: ArrayLike<number>): number {
  const directions = 16;
  let total = 0;
  for (let k = 0; k < directions; k++) {
    const [cos, sin] = [Math.cos((Math.PI * k) / directions), Math.sin((Math.PI * k) / directions)];
    const project = (points: ArrayLike<number>) =>
      Float64Array.from({ length: points.length / 2 }, (_, i) => cos * points[2 * i] + sin * points[2 * i + 1]).sort();
    const [first, second] = [project(a), project(b)];
    total += first.reduce((s, value, i) => s + Math.abs(value - second[i]), 0) / first.length;
  }
  return total / directions;
}
