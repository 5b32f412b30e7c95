/**
 * DPM-Solver++ (Lu et al. 2022b), multistep: exact in the linear part, polynomials in `log(alpha / sigma)` through the last two
 * or three predictions of the clean sample for the rest. With eta > 0 a share of the noise is drawn anew (2M SDE; the third order
 * with its stochastic form is Crowson's, k-diffusion `sample_dpmpp_3m_sde`).
 */
import { ArgumentError } from '@dit-moe/tensor-ops';
import { logRatio, type NoiseLevel } from '../paths.js';
import { checkWord } from '../words.js';
import { type LinearStep, pairs } from './linear-steps.js';

/** Order and noise of DPM-Solver++. */
export interface DpmSolverOptions {
  /** Predictions used, 1, 2 or 3 (default 2); the first steps and those next to noise and clean data use fewer. */
  order?: 1 | 2 | 3;
  /** Share of fresh noise: 0 none (default), 1 that of the diffusion SDE. */
  eta?: number;
  /**
   * Form of a step from two predictions, equal in the limit: `midpoint`, the paper's (default of order 2 and of diffusers), or `heun`,
   * which integrates the linear term exactly (default of order 3, as in k-diffusion).
   */
  secondStep?: 'midpoint' | 'heun';
}

/** A step wider than the one before by more than this factor does not extrapolate. */
const MAX_GROWTH = 2;

/**
 * Steps of DPM-Solver++, one evaluation each.
 * @throws ArgumentError on another order or form, or a negative `eta`
 */
export function dpmSolverSteps(levels: readonly NoiseLevel[], options: DpmSolverOptions = {}): LinearStep[] {
  const { order = 2, eta = 0, secondStep = order === 3 ? 'heun' : 'midpoint' } = options;
  if (![1, 2, 3].includes(order)) throw new ArgumentError('dpmSolver: order', '1, 2 or 3', order);
  if (!(eta >= 0)) throw new ArgumentError('dpmSolver: eta', 'a number >= 0', eta);
  checkWord('dpmSolver: secondStep', secondStep, ['midpoint', 'heun']);
  const widths = stepWidths(levels);
  return pairs(levels).map(([from, to], i) => {
    const h = widths[i];
    const decay = h * (1 + eta);
    const gain = -to.alpha * Math.expm1(-decay);
    const used = usableOrder(widths, i, order);
    const clean = [gain];
    if (used > 1) {
      // phi2 and phi3 integrate the linear and the quadratic term against the decay.
      const phi2 = Math.expm1(-decay) / decay + 1;
      const [r0, r1] = [widths[i - 1] / h, (widths[i - 2] ?? h) / h];
      if (used === 2) {
        const slope = (secondStep === 'midpoint' ? gain / 2 : to.alpha * phi2) / r0;
        clean[0] += slope;
        clean.push(-slope);
      } else {
        const phi3 = phi2 / decay - 0.5;
        // Divided differences of the last three predictions. Exact integration would take the second one twice and be of order 3;
        // the published method is of order 2, but closer to the solution below about 40 steps.
        const first = [1 / r0, -1 / r0, 0];
        const before = [0, 1 / r1, -1 / r1];
        const second = first.map((d, j) => (d - before[j]) / (r0 + r1));
        clean.push(0, 0);
        for (let j = 0; j < 3; j++) clean[j] += to.alpha * (phi2 * (first[j] + r0 * second[j]) - phi3 * second[j]);
      }
    }
    // An infinite width times eta = 0 would not be a number.
    const renewed = eta === 0 ? 0 : eta * h;
    const noise = to.sigma * Math.sqrt(-Math.expm1(-2 * renewed));
    return { from, to, predict: { x: (to.sigma / from.sigma) * Math.exp(-renewed), clean, ...(noise > 0 && { noise }) } };
  });
}

/**
 * Widths of the steps in `log(alpha / sigma)`, infinite next to pure noise and clean data.
 * @throws ArgumentError unless it rises
 */
export function stepWidths(levels: readonly NoiseLevel[]): number[] {
  const widths = pairs(levels).map(([from, to]) => logRatio(to) - logRatio(from));
  if (widths.some((h) => !(h > 0))) throw new ArgumentError('solver: levels', 'levels with rising alpha / sigma', 'levels that are not');
  return widths;
}

/** How many predictions step `i` can use: those behind finite steps that are not much narrower than it. */
export function usableOrder(widths: readonly number[], i: number, order: number): number {
  if (!Number.isFinite(widths[i])) return 1;
  let used = 1;
  while (used < order && i >= used) {
    const last = widths[i - used];
    if (!Number.isFinite(last) || widths[i] > MAX_GROWTH * last) break;
    used++;
  }
  return used;
}
