/**
 * DDIM (Song et al. 2021) on any path: between two levels the predicted clean sample and noise stay as they are, and a part of
 * the noise is drawn anew.
 */
import { ArgumentError } from '@dit-moe/tensor-ops';
import type { NoiseLevel } from '../paths.js';
import { type LinearStep, pairs } from './linear-steps.js';

/**
 * Steps of DDIM, one evaluation each.
 * @param eta 0 deterministic, first order; 1 ancestral sampling, whose fresh noise has the variance of the posterior
 * @throws ArgumentError if `eta` is negative
 */
export function ddimSteps(levels: readonly NoiseLevel[], eta = 0): LinearStep[] {
  if (!(eta >= 0)) throw new ArgumentError('ddim: eta', 'a number >= 0', eta);
  return pairs(levels).map(([from, to]) => {
    // 1 - (ratio of noise to signal, to : from)^2; from pure noise all of the noise is new.
    const lost = 1 - ((to.sigma * from.alpha) / (to.alpha * from.sigma)) ** 2;
    const noise = Math.min(to.sigma, eta * to.sigma * Math.sqrt(lost));
    const kept = Math.sqrt(to.sigma ** 2 - noise ** 2) / from.sigma;
    return { from, to, predict: { x: kept, clean: [to.alpha - kept * from.alpha], ...(noise > 0 && { noise }) } };
  });
}
