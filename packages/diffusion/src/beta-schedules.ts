/**
 * Noise schedules of Gaussian diffusion: how much noise each of T steps adds.
 *
 * Sources: Ho et al. 2020 (linear), Nichol and Dhariwal 2021 (cosine), and the older ones of the DDPM code (quadratic, warm-up,
 * constant, Jensen-Shannon). `cosine` and `squaredcos_cap_v2` are the names of one schedule in ADM and in DiT.
 */
import { ArgumentError } from '@dit-moe/tensor-ops';
import { checkWord } from './words.js';

/** Schedules defined for any number of steps. */
export type BetaSchedule = 'linear' | 'cosine' | 'squaredcos_cap_v2';

/** Schedules between two given betas. */
export type BetaShape = 'linear' | 'quad' | 'warmup10' | 'warmup50' | 'const' | 'jsd';

/** Largest beta of the cosine schedule: keeps its last step from erasing everything. */
const MAX_BETA = 0.999;

/**
 * Betas of a named schedule, float64 `[steps]`.
 *
 * `linear` runs from 1e-4 to 0.02 for 1000 steps and is scaled by `1000 / steps` otherwise, so that the total noise stays.
 * @throws ArgumentError on an unknown name or if `steps` is not a positive integer
 */
export function betaSchedule(name: BetaSchedule, steps: number): Float64Array {
  checkWord('betaSchedule: name', name, ['linear', 'cosine', 'squaredcos_cap_v2']);
  if (name === 'linear') return betasBetween('linear', 0.1 / steps, 20 / steps, steps);
  return betasForAlphaBar((s) => Math.cos(((s + 0.008) / 1.008) * (Math.PI / 2)) ** 2, steps);
}

/**
 * Betas that make the cumulative product of `1 - beta` follow `alphaBar`, capped at 0.999.
 * @param alphaBar falling from about 1 at 0 to about 0 at 1
 */
export function betasForAlphaBar(alphaBar: (fraction: number) => number, steps: number): Float64Array {
  checkSteps(steps);
  return Float64Array.from({ length: steps }, (_, i) => Math.min(1 - alphaBar((i + 1) / steps) / alphaBar(i / steps), MAX_BETA));
}

/**
 * Betas of a given shape from `start` to `end`, float64 `[steps]`; `const` uses only `end`, `jsd` neither.
 * @throws ArgumentError on an unknown shape or if `steps` is not a positive integer
 */
export function betasBetween(shape: BetaShape, start: number, end: number, steps: number): Float64Array {
  checkSteps(steps);
  checkWord('betasBetween: shape', shape, ['linear', 'quad', 'warmup10', 'warmup50', 'const', 'jsd']);
  switch (shape) {
    case 'linear':
      return linspace(start, end, steps);
    case 'quad':
      return linspace(Math.sqrt(start), Math.sqrt(end), steps).map((root) => root * root);
    case 'warmup10':
    case 'warmup50': {
      const betas = new Float64Array(steps).fill(end);
      betas.set(linspace(start, end, Math.floor(steps * (shape === 'warmup10' ? 0.1 : 0.5))));
      return betas;
    }
    case 'const':
      return new Float64Array(steps).fill(end);
    case 'jsd':
      return Float64Array.from({ length: steps }, (_, i) => 1 / (steps - i));
  }
}

function linspace(from: number, to: number, count: number): Float64Array {
  return Float64Array.from({ length: count }, (_, i) =>
    count === 1 ? from : i === count - 1 ? to : from + (i * (to - from)) / (count - 1),
  );
}

function checkSteps(steps: number): void {
  if (!Number.isInteger(steps) || steps < 1) throw new ArgumentError('beta schedule: steps', 'a positive integer', steps);
}
