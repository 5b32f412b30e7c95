/**
 * The reverse-time SDE `dx = (velocity - D score) dt + sqrt(2 D) dW` of a path, whose distributions are those of the flow for any
 * D(t) (Ma et al. 2024, section 2.2): Euler-Maruyama and Heun, with SiT's forms of D and rules for the last step.
 */
import { ArgumentError } from '@dit-moe/tensor-ops';
import type { NoiseLevel, Path } from '../paths.js';
import { velocityWeights } from '../predictions.js';
import { checkWord } from '../words.js';
import { trapezoid } from './euler.js';
import { type Combination, type LinearStep, pairs } from './linear-steps.js';

/** Diffusion coefficients D(t), t = 1 noise, with their factor `norm`; `sbdm` is that of score-based diffusion, infinite in pure noise. */
export const diffusionForms = {
  constant: (_: NoiseLevel, norm: number) => norm,
  sbdm: ({ alpha, sigma, dAlpha, dSigma }: NoiseLevel, norm: number) => norm * (sigma * dSigma - (dAlpha / alpha) * sigma ** 2),
  sigma: ({ sigma }: NoiseLevel, norm: number) => norm * sigma,
  linear: ({ t }: NoiseLevel, norm: number) => norm * t,
  decreasing: ({ t }: NoiseLevel, norm: number) => 0.25 * (1 - norm * Math.cos(Math.PI * t)) ** 2,
  'increasing-decreasing': ({ t }: NoiseLevel, norm: number) => norm * Math.sin(Math.PI * t) ** 2,
} as const;
/** A word of `diffusionForms`: how much noise the SDE has over time. */
export type DiffusionForm = keyof typeof diffusionForms;

const DEFAULT_FORM: DiffusionForm = 'sigma';

/**
 * The last step, from the last level before clean data: `mean` the SDE's without noise, `euler` the flow's, `tweedie` the
 * predicted clean sample, `none` no step.
 */
export type LastStep = 'mean' | 'euler' | 'tweedie' | 'none';

/** The stochastic differential equation of a flow. */
export interface SdeOptions {
  /** Default `sigma`, SiT's choice for its linear path. */
  form?: DiffusionForm;
  /** Factor of D (default 1; 0 gives the flow), of `decreasing` that of its cosine, as in SiT. */
  norm?: number;
  /** Default `mean`, as in SiT. */
  lastStep?: LastStep;
  /** Place from which the last step starts (default 0.04, SiT's; 0.001 without a last step). */
  lastPlace?: number;
  /** Heun's method instead of Euler's, two evaluations per step. */
  heun?: boolean;
}

/** The noisiest place where `sbdm` is finite on paths that end in pure noise (SiT's value). */
const START_OF_SBDM = 0.999;

/**
 * The usual levels for the SDE: evenly spaced in `t` down to `lastPlace`, and clean data, to which the last of the steps leads; with
 * `lastStep` `none` there is one step less, as in SiT.
 * @throws ArgumentError if `steps` is no positive integer, is 1 without a last step, or `lastPlace` is outside of the path
 */
export function sdeLevels(path: Path, steps: number, { form = DEFAULT_FORM, lastStep, lastPlace }: SdeOptions = {}): NoiseLevel[] {
  const least = lastStep === 'none' ? 2 : 1;
  if (!Number.isInteger(steps) || steps < least) throw new ArgumentError('sdeLevels: steps', `an integer of at least ${least}`, steps);
  const first = form === 'sbdm' && path.level(path.start).alpha === 0 ? START_OF_SBDM : path.start;
  const last = Math.max(path.end, lastPlace ?? (lastStep === 'none' ? 1e-3 : 0.04));
  if (!(last > 0 && last < first)) throw new ArgumentError('sdeLevels: lastPlace', `a place in (0, ${first})`, last);
  const between = steps - 1;
  const places = Array.from({ length: between + 1 }, (_, i) => (i === 0 ? first : first + (i / between) * (last - first)));
  return [...places, 0].map((t) => path.level(t));
}

/**
 * Steps of the SDE.
 * @param levels from noise to clean data
 * @throws ArgumentError on an unknown form or rule, a negative norm, or if D is infinite at the first level
 */
export function sdeSteps(levels: readonly NoiseLevel[], options: SdeOptions = {}): LinearStep[] {
  const { form = DEFAULT_FORM, norm = 1, lastStep = 'mean', heun = false } = options;
  checkWord('sde: form', form, Object.keys(diffusionForms));
  checkWord('sde: lastStep', lastStep, ['mean', 'euler', 'tweedie', 'none']);
  if (!(norm >= 0 && norm < Number.POSITIVE_INFINITY)) throw new ArgumentError('sde: norm', 'a number >= 0', norm);
  const diffusion = (level: NoiseLevel): number => diffusionForms[form](level, norm);
  if (!Number.isFinite(diffusion(levels[0])))
    throw new ArgumentError('sde: form', 'another form, or a path that starts before pure noise', `${form}, infinite at t = 1`);
  // -score = noise / sigma = (x - alpha clean) / sigma^2; time runs backwards, so the score's pull is against dt.
  const drift = (level: NoiseLevel): readonly [number, number] => {
    const [ofX, ofClean] = velocityWeights(level);
    const pull = diffusion(level) / level.sigma ** 2;
    return [ofX + pull, ofClean - pull * level.alpha];
  };
  return pairs(levels).flatMap(([from, to]): LinearStep[] => {
    const h = to.t - from.t;
    const straight = ([ofX, ofClean]: readonly [number, number]): Combination => ({ x: 1 + h * ofX, clean: [h * ofClean] });
    if (to.sigma === 0) {
      if (lastStep === 'none') return [];
      if (lastStep === 'tweedie') return [{ from, to, predict: { x: 0, clean: [1] } }];
      return [{ from, to, predict: straight(lastStep === 'mean' ? drift(from) : velocityWeights(from)) }];
    }
    const noise = Math.sqrt(2 * diffusion(from) * -h);
    const predict = straight(drift(from));
    if (!heun) return [{ from, to, predict: { ...predict, noise } }];
    return [{ from, to, perturb: noise, predict, correct: trapezoid(from, to, predict, drift) }];
  });
}
