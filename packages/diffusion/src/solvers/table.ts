/** Every solver by name, for flow models and Gaussian models alike, and the one function that runs them. */
import type * as tf from '@tensorflow/tfjs-core';
import type { Denoiser } from '../denoiser.js';
import type { DiffusionModel, PredictionOptions } from '../diffusion-model.js';
import { GaussianDiffusion } from '../gaussian-diffusion.js';
import { type GridName, type GridOptions, levels } from '../grids.js';
import type { NoiseLevel, Path } from '../paths.js';
import { checkWord } from '../words.js';
import { ddimSteps } from './ddim.js';
import { type AdaptiveOptions, dormandPrince } from './dormand-prince.js';
import { dpmSolverSteps } from './dpm-solver.js';
import { eulerSteps, heunSteps } from './euler.js';
import { type SdeOptions, sdeLevels, sdeSteps } from './euler-maruyama.js';
import { ddim, ddpm } from './gaussian.js';
import { type LinearStep, runSteps } from './linear-steps.js';
import type { SolverOptions, SolverRun, StepNoise } from './solver.js';
import { uniPcSteps } from './uni-pc.js';

/** Options of every solver; those that do not concern a solver are ignored by it. */
export interface SolveOptions
  extends SolverOptions,
    PredictionOptions,
    Partial<GridOptions>,
    Pick<AdaptiveOptions, 'relativeTolerance' | 'absoluteTolerance' | 'maxEvaluations'>,
    Omit<SdeOptions, 'heun'> {
  /** Needed by stochastic solvers, see `stepNoise`. */
  noise?: StepNoise;
  /** Share of fresh noise of `ddim` (default 0) and the DPM-Solver++ SDEs (default 1). */
  eta?: number;
  /** Timesteps of `ddpm` and `ddim` for Gaussian models as text, see `respacedTimesteps` (default: `steps` evenly spaced). */
  spacing?: string;
}

/** A solver: what people choose it by, and how it runs. */
export interface Solver {
  /** One line for people. */
  title: string;
  /** `ode`: the noise at the start determines the sample; `sde`: needs `noise`. */
  kind: 'ode' | 'sde';
  /** Measured order of convergence, of the distribution for an SDE, including what a multistep method's first and last steps cost. */
  order: number;
  /** Evaluations of the model per step; for the adaptive solver per step that it chooses. */
  evaluationsPerStep: number;
  /** Default number of steps; undefined where the solver chooses. */
  steps?: number;
  /** Default grid: the one with the smallest error at 10 to 20 evaluations, and the reference's for its own samplers. */
  grid: GridName;
  /** The steps along given levels; undefined where the solver chooses. */
  plan?(levels: readonly NoiseLevel[], options: SolveOptions): LinearStep[];
  /** Its own levels where neither `grid` nor `shift` is asked for. */
  levels?(path: Path, steps: number, options: SolveOptions): NoiseLevel[];
  /** The reference's own loop for Gaussian models, which knows learned variances; it serves the uniform grid without a shift. */
  gaussian?(diffusion: GaussianDiffusion, model: Denoiser, start: tf.Tensor, options: SolveOptions): SolverRun;
}

/**
 * The solvers by name. All serve flow models and Gaussian models; `ddpm` and `ddim` are the reference's samplers for the
 * latter, and the same idea on the flow's path for the former.
 */
export const solvers = {
  euler: {
    title: 'Euler; DiT-MoE’s sampler of flow models',
    kind: 'ode',
    order: 1,
    evaluationsPerStep: 1,
    steps: 50,
    grid: 'uniform',
    plan: (at) => eulerSteps(at),
  },
  heun: {
    title: 'Heun: Euler with a correction',
    kind: 'ode',
    order: 2,
    evaluationsPerStep: 2,
    steps: 25,
    grid: 'exponential',
    plan: (at) => heunSteps(at),
  },
  dopri5: {
    title: 'Dormand-Prince 5(4): chooses its steps by the tolerances',
    kind: 'ode',
    order: 5,
    evaluationsPerStep: 6,
    grid: 'uniform',
  },
  ddpm: {
    title: 'ancestral sampling; DiT-MoE’s sampler of Gaussian models',
    kind: 'sde',
    order: 1,
    evaluationsPerStep: 1,
    steps: 250,
    grid: 'uniform',
    plan: (at) => ddimSteps(at, 1),
    gaussian: ddpm,
  },
  ddim: {
    title: 'DDIM; eta above 0 draws noise anew',
    kind: 'ode',
    order: 1,
    evaluationsPerStep: 1,
    steps: 50,
    grid: 'uniform',
    plan: (at, { eta }) => ddimSteps(at, eta),
    gaussian: ddim,
  },
  'dpm++2m': {
    title: 'DPM-Solver++(2M)',
    kind: 'ode',
    order: 2,
    evaluationsPerStep: 1,
    steps: 20,
    grid: 'exponential',
    plan: (at) => dpmSolverSteps(at),
  },
  'dpm++3m': {
    title: 'DPM-Solver++(3M)',
    kind: 'ode',
    order: 2,
    evaluationsPerStep: 1,
    steps: 20,
    grid: 'exponential',
    plan: (at) => dpmSolverSteps(at, { order: 3 }),
  },
  'dpm++3m-midpoint': {
    title: 'DPM-Solver++(3M), second step as in diffusers',
    kind: 'ode',
    order: 2,
    evaluationsPerStep: 1,
    steps: 20,
    grid: 'exponential',
    plan: (at) => dpmSolverSteps(at, { order: 3, secondStep: 'midpoint' }),
  },
  'dpm++2m-sde': {
    title: 'DPM-Solver++(2M) SDE',
    kind: 'sde',
    order: 2,
    evaluationsPerStep: 1,
    steps: 50,
    grid: 'exponential',
    plan: (at, { eta = 1 }) => dpmSolverSteps(at, { eta }),
  },
  'dpm++3m-sde': {
    title: 'DPM-Solver++(3M) SDE',
    kind: 'sde',
    order: 2,
    evaluationsPerStep: 1,
    steps: 50,
    grid: 'exponential',
    plan: (at, { eta = 1 }) => dpmSolverSteps(at, { order: 3, eta }),
  },
  unipc: {
    title: 'UniPC of order 2, B2(h)',
    kind: 'ode',
    order: 3,
    evaluationsPerStep: 1,
    steps: 20,
    grid: 'exponential',
    plan: (at) => uniPcSteps(at),
  },
  'unipc-bh1': {
    title: 'UniPC of order 2, B1(h)',
    kind: 'ode',
    order: 3,
    evaluationsPerStep: 1,
    steps: 20,
    grid: 'exponential',
    plan: (at) => uniPcSteps(at, { variant: 'bh1' }),
  },
  unipc3: {
    title: 'UniPC of order 3, B2(h)',
    kind: 'ode',
    order: 3,
    evaluationsPerStep: 1,
    steps: 20,
    grid: 'exponential',
    plan: (at) => uniPcSteps(at, { order: 3 }),
  },
  'euler-maruyama': {
    title: 'Euler-Maruyama on the reverse SDE',
    kind: 'sde',
    order: 1,
    evaluationsPerStep: 1,
    steps: 250,
    grid: 'uniform',
    plan: (at, options) => sdeSteps(at, { ...options, heun: false }),
    levels: sdeLevels,
  },
  'sde-heun': {
    title: 'Heun on the reverse SDE',
    kind: 'sde',
    order: 1,
    evaluationsPerStep: 2,
    steps: 125,
    grid: 'uniform',
    plan: (at, options) => sdeSteps(at, { ...options, heun: true }),
    levels: sdeLevels,
  },
} as const satisfies Record<string, Solver>;
/** Name of a solver of `solvers`. */
export type SolverName = keyof typeof solvers;

/**
 * Samples a model: yields a state per step and returns the samples.
 * @param start standard normal noise `[B, ...]`; not disposed
 * @throws ArgumentError on an unknown solver, options outside of what it takes, or a stochastic solver without noise
 * @throws NotFiniteError if the model gives NaN or infinity
 */
export function sample(
  model: DiffusionModel,
  start: tf.Tensor,
  { solver: name, ...options }: SolveOptions & { solver: SolverName },
): SolverRun {
  checkWord('sample: solver', name, Object.keys(solvers));
  const solver: Solver = solvers[name];
  if (solver.plan === undefined) return dormandPrince(model, start, options);
  const { steps = solver.steps!, grid, shift } = options;
  if (model.gaussian !== undefined && solver.gaussian !== undefined && (grid ?? 'uniform') === 'uniform' && (shift ?? 1) === 1) {
    const diffusion = new GaussianDiffusion({ ...model.gaussian, spacing: options.spacing ?? String(steps) });
    return solver.gaussian(diffusion, model.denoiser, start, options);
  }
  const own = grid === undefined && shift === undefined ? solver.levels : undefined;
  // A shift is one of the uniform grid.
  const usual = shift === undefined ? solver.grid : 'uniform';
  const at = own?.(model.path, steps, options) ?? levels(model.path, { steps, grid: grid ?? usual, shift });
  return runSteps(model, start, solver.plan(at, options), options);
}

/** What the reference does with its two kinds of models. */
export const presets = {
  /** `sample.py` with rectified flow: 50 Euler steps from t = 1 to 0. */
  flow: { solver: 'euler', steps: 50 },
  /** `sample_ddp.py`: 250 ancestral steps. */
  ddpm: { solver: 'ddpm', steps: 250 },
} as const satisfies Record<string, SolveOptions & { solver: SolverName }>;
