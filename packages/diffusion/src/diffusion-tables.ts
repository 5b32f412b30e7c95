/** Everything that follows from the betas, per step, in float64 (Ho et al. 2020, equations 4 to 7). */
import { ArgumentError } from '@dit-moe/tensor-ops';

/** One value per step. `alphasCumprod` is the product of `1 - beta` up to and including the step. */
export interface DiffusionTables {
  betas: Float64Array;
  logBetas: Float64Array;
  alphasCumprod: Float64Array;
  /** Shifted by one step, 1 in front. */
  alphasCumprodPrev: Float64Array;
  /** Shifted by one step, 0 at the end. */
  alphasCumprodNext: Float64Array;
  sqrtAlphasCumprod: Float64Array;
  sqrtOneMinusAlphasCumprod: Float64Array;
  logOneMinusAlphasCumprod: Float64Array;
  sqrtRecipAlphasCumprod: Float64Array;
  sqrtRecipm1AlphasCumprod: Float64Array;
  /** Variance of q(x_{t-1} | x_t, x_0); 0 at the first step. */
  posteriorVariance: Float64Array;
  /** Its logarithm, with the first entry replaced by the second. */
  posteriorLogVarianceClipped: Float64Array;
  /** Weight of x_0 in the posterior mean. */
  posteriorMeanCoef1: Float64Array;
  /** Weight of x_t in the posterior mean. */
  posteriorMeanCoef2: Float64Array;
  /** The betas, with the first entry replaced by the second posterior variance. */
  fixedLargeVariance: Float64Array;
  fixedLargeLogVariance: Float64Array;
}

/**
 * Tables of a schedule.
 * @throws ArgumentError unless there is a beta and all are in (0, 1]
 */
export function diffusionTables(betas: ArrayLike<number>): DiffusionTables {
  const b = Float64Array.from(betas);
  if (b.length < 1 || b.some((beta) => !(beta > 0 && beta <= 1)))
    throw new ArgumentError('diffusionTables: betas', 'numbers in (0, 1]', `[${[...b.slice(0, 8)].join(', ')}]`);
  let product = 1;
  const a = b.map((beta) => (product *= 1 - beta));
  const prev = a.map((_, i) => (i === 0 ? 1 : a[i - 1]));
  const next = a.map((_, i) => (i === a.length - 1 ? 0 : a[i + 1]));
  const posteriorVariance = b.map((beta, i) => (beta * (1 - prev[i])) / (1 - a[i]));
  // One step alone has posterior variance 0 everywhere; its beta is the only scale there is.
  const second = b.length > 1 ? posteriorVariance[1] : b[0];
  const fixedLargeVariance = b.map((beta, i) => (i === 0 ? second : beta));
  return {
    betas: b,
    logBetas: b.map(Math.log),
    alphasCumprod: a,
    alphasCumprodPrev: prev,
    alphasCumprodNext: next,
    sqrtAlphasCumprod: a.map(Math.sqrt),
    sqrtOneMinusAlphasCumprod: a.map((x) => Math.sqrt(1 - x)),
    logOneMinusAlphasCumprod: a.map((x) => Math.log(1 - x)),
    sqrtRecipAlphasCumprod: a.map((x) => Math.sqrt(1 / x)),
    sqrtRecipm1AlphasCumprod: a.map((x) => Math.sqrt(1 / x - 1)),
    posteriorVariance,
    posteriorLogVarianceClipped: posteriorVariance.map((x, i) => Math.log(i === 0 ? second : x)),
    posteriorMeanCoef1: b.map((beta, i) => (beta * Math.sqrt(prev[i])) / (1 - a[i])),
    posteriorMeanCoef2: b.map((beta, i) => ((1 - prev[i]) * Math.sqrt(1 - beta)) / (1 - a[i])),
    fixedLargeVariance,
    fixedLargeLogVariance: fixedLargeVariance.map(Math.log),
  };
}
