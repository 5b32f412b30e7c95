/** Every solver by name, for flow models and Gaussian models alike, and the one function that runs them. */
import { ArgumentError } from '@dit-moe/tensor-ops';
import type * as tf from '@tensorflow/tfjs-core';
import type { DiffusionModel, PredictionOptions } from '../diffusion-model.js';
import { GaussianDiffusion } from '../gaussian-diffusion.js';
import { type GridName, type GridOptions, levels } from '../grids.js';
import type { NoiseLevel } from '../paths.js';
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
  run(model: DiffusionModel, start: tf.Tensor, options: SolveOptions): SolverRun;
}

type Steps = (levels: readonly NoiseLevel[], options: SolveOptions) => LinearStep[];

/** The solvers of the reverse SDE, whose grid is their own unless one is asked for. */
function reverseSde(evaluationsPerStep: number, steps: number, title: string, heun: boolean): Solver {
  const plan: Steps = (at, options) => sdeSteps(at, { ...options, heun });
  const solver = fixed('sde', 1, evaluationsPerStep, steps, 'uniform', title, plan);
  return {
    ...solver,
    run(model, start, options) {
      if (options.grid !== undefined || options.shift !== undefined) return solver.run(model, start, options);
      return runSteps(model, start, plan(sdeLevels(model.path, options.steps ?? steps, options), options), options);
    },
  };
}

/** A solver whose steps are known beforehand. */
function fixed(
  kind: 'ode' | 'sde',
  order: number,
  evaluationsPerStep: number,
  steps: number,
  grid: GridName,
  title: string,
  plan: Steps,
): Solver {
  return {
    title,
    kind,
    order,
    evaluationsPerStep,
    steps,
    grid,
    run(model, start, options) {
      // A shift is one of the uniform grid.
      const usual = options.shift === undefined ? grid : 'uniform';
      const at = levels(model.path, { steps: options.steps ?? steps, grid: options.grid ?? usual, shift: options.shift });
      return runSteps(model, start, plan(at, options), options);
    },
  };
}

/** DDPM and DDIM of Gaussian models: the reference's own loops, which know learned variances. */
function ancestral(solver: Solver, sampler: 'ddpm' | 'ddim'): Solver {
  return {
    ...solver,
    run(model, start, options) {
      if (model.gaussian === undefined || (options.grid ?? 'uniform') !== 'uniform' || (options.shift ?? 1) !== 1)
        return solver.run(model, start, options);
      const diffusion = new GaussianDiffusion({ ...model.gaussian, spacing: options.spacing ?? String(options.steps ?? solver.steps) });
      const { noise } = options;
      if (sampler === 'ddim') return ddim(diffusion, model.denoiser, start, options);
      if (noise === undefined) throw new ArgumentError('ddpm: noise', 'a function that gives noise', 'undefined');
      return ddpm(diffusion, model.denoiser, start, noise, options);
    },
  };
}

/**
 * The solvers by name. All serve flow models and Gaussian models; `ddpm` and `ddim` are the reference's samplers for the
 * latter, and the same idea on the flow's path for the former.
 */
export const solvers = {
  euler: fixed('ode', 1, 1, 50, 'uniform', 'Euler; DiT-MoE’s sampler of flow models', (at) => eulerSteps(at)),
  heun: fixed('ode', 2, 2, 25, 'exponential', 'Heun: Euler with a correction', (at) => heunSteps(at)),
  dopri5: {
    title: 'Dormand-Prince 5(4): chooses its steps by the tolerances',
    kind: 'ode',
    order: 5,
    evaluationsPerStep: 6,
    grid: 'uniform',
    run: dormandPrince,
  },
  ddpm: ancestral(
    fixed('sde', 1, 1, 250, 'uniform', 'ancestral sampling; DiT-MoE’s sampler of Gaussian models', (at) => ddimSteps(at, 1)),
    'ddpm',
  ),
  ddim: ancestral(
    fixed('ode', 1, 1, 50, 'uniform', 'DDIM; eta above 0 draws noise anew', (at, { eta }) => ddimSteps(at, eta)),
    'ddim',
  ),
  'dpm++2m': fixed('ode', 2, 1, 20, 'exponential', 'DPM-Solver++(2M)', (at) => dpmSolverSteps(at)),
  'dpm++3m': fixed('ode', 2, 1, 20, 'exponential', 'DPM-Solver++(3M)', (at) => dpmSolverSteps(at, { order: 3 })),
  'dpm++2m-sde': fixed('sde', 2, 1, 50, 'exponential', 'DPM-Solver++(2M) SDE', (at, { eta = 1 }) => dpmSolverSteps(at, { eta })),
  'dpm++3m-sde': fixed('sde', 2, 1, 50, 'exponential', 'DPM-Solver++(3M) SDE', (at, { eta = 1 }) => dpmSolverSteps(at, { order: 3, eta })),
  unipc: fixed('ode', 3, 1, 20, 'exponential', 'UniPC of order 2, B2(h)', (at) => uniPcSteps(at)),
  'unipc-bh1': fixed('ode', 3, 1, 20, 'exponential', 'UniPC of order 2, B1(h)', (at) => uniPcSteps(at, { variant: 'bh1' })),
  unipc3: fixed('ode', 3, 1, 20, 'exponential', 'UniPC of order 3, B2(h)', (at) => uniPcSteps(at, { order: 3 })),
  'euler-maruyama': reverseSde(1, 250, 'Euler-Maruyama on the reverse SDE', false),
  'sde-heun': reverseSde(2, 125, 'Heun on the reverse SDE', true),
} as const satisfies Record<string, Solver>;
export type SolverName = keyof typeof solvers;

/**
 * Samples a model: yields a state per step and returns the samples.
 * @param start standard normal noise `[B, ...]`; not disposed
 * @throws ArgumentError on an unknown solver, options outside of what it takes, or a stochastic solver without noise
 * @throws NotFiniteError if the model gives NaN or infinity
 */
export function sample(model: DiffusionModel, start: tf.Tensor, { solver, ...options }: SolveOptions & { solver: SolverName }): SolverRun {
  if (!Object.hasOwn(solvers, solver)) throw new ArgumentError('sample: solver', Object.keys(solvers).join(', '), solver);
  return (solvers[solver] as Solver).run(model, start, options);
}

/** What the reference does with its two kinds of models. */
export const presets = {
  /** `sample.py` with rectified flow: 50 Euler steps from t = 1 to 0. */
  flow: { solver: 'euler', steps: 50 },
  /** `sample_ddp.py`: 250 ancestral steps. */
  ddpm: { solver: 'ddpm', steps: 250 },
} as const satisfies Record<string, SolveOptions & { solver: SolverName }>;
