/**
 * Accuracy for evaluations: how far the samples of every solver of the table, on its default grid, are from the exact ones of a
 * mixture of three normal distributions in the plane, whose denoiser is known. No clock: the numbers are the same on every machine.
 */
import {
  finish,
  flowPath,
  GaussianDiffusion,
  gaussianPath,
  levels,
  type Solver,
  type SolverName,
  sample,
  solvers,
  uniPcSteps,
} from '@dit-moe/diffusion';
import * as tf from '@tensorflow/tfjs';
import {
  difference,
  exactFlow,
  exactGaussian,
  mixturePoints,
  normalPoints,
  runFloat64,
  slicedWasserstein,
} from '../packages/diffusion/test/mixture.js';
import { type BenchmarkOptions, type BenchmarkResult, result } from './harness/benchmark.js';

export const description = 'error of every solver against its number of evaluations, on a mixture with a known denoiser';

const models = {
  flow: { model: exactFlow(), path: flowPath('linear') },
  gaussian: { model: exactGaussian({ varianceType: 'fixed-small' }), path: gaussianPath(new GaussianDiffusion()) },
};
/** Evaluations for solvers without and with fresh noise: the latter need more. */
const budgets = { ode: [6, 10, 12, 16, 20, 50], sde: [10, 20, 50, 100, 250] };
const TOLERANCES = [1e-1, 1e-2, 1e-3, 1e-4, 1e-5];

export async function run({ quick, log }: BenchmarkOptions): Promise<BenchmarkResult[]> {
  await tf.setBackend('cpu');
  const results: BenchmarkResult[] = [];
  for (const [kind, { model, path }] of Object.entries(models)) {
    const all = Object.entries(solvers as Record<string, Solver>);
    /** Samples from the noise of seed 1, and how often the model was asked. */
    const samplesOf = async (count: number, options: Omit<Parameters<typeof sample>[2], 'noise'>) => {
      const points = (seed: number) => tf.tensor2d(Float32Array.from(normalPoints(count, seed)), [count, 2]);
      let evaluations = 0;
      const denoiser: typeof model.denoiser = (...inputs) => {
        evaluations++;
        return model.denoiser(...inputs);
      };
      const start = points(1);
      const end = await finish(sample({ ...model, denoiser }, start, { ...options, noise: (step) => points(step + 2) }));
      const samples = await end.data();
      tf.dispose([start, end]);
      return { samples, evaluations };
    };
    const line = (name: string, unit: string, at: readonly number[], errors: readonly number[]): void => {
      log(`  ${name.padEnd(16)} ${errors.map((error) => error.toFixed(4)).join('  ')}`);
      for (const [i, error] of errors.entries()) results.push(result(`${kind} ${name} ${at[i]}`, unit, 'less', error, null));
    };

    const count = quick ? 256 : 1024;
    const exact = runFloat64(uniPcSteps(levels(path, { steps: 800, grid: 'exponential' }), { order: 3 }), normalPoints(count));
    log(`${kind}: root mean square distance to the exact samples of the same noise, at ${budgets.ode.join(', ')} evaluations`);
    for (const [solver, { kind: equation, evaluationsPerStep, steps }] of all) {
      if (equation !== 'ode' || steps === undefined) continue;
      const errors: number[] = [];
      for (const budget of budgets.ode)
        errors.push(
          difference((await samplesOf(count, { solver: solver as SolverName, steps: budget / evaluationsPerStep })).samples, exact),
        );
      line(solver, 'rms', budgets.ode, errors);
    }
    const [errors, evaluations]: [number[], number[]] = [[], []];
    for (const tolerance of TOLERANCES) {
      const found = await samplesOf(count, { solver: 'dopri5', relativeTolerance: tolerance, absoluteTolerance: tolerance });
      errors.push(difference(found.samples, exact));
      evaluations.push(found.evaluations);
    }
    log(`  at tolerances of ${TOLERANCES.join(', ')}, that is ${evaluations.join(', ')} evaluations`);
    line('dopri5', 'rms', evaluations, errors);

    const many = quick ? 1024 : 8192;
    const truth = mixturePoints(many, 1);
    const floor = slicedWasserstein(mixturePoints(many, 2), truth);
    log(
      `${kind}: sliced Wasserstein distance of ${many} samples to as many exact ones, at ${budgets.sde.join(', ')} evaluations; of other exact ones ${floor.toFixed(4)}`,
    );
    for (const [solver, { kind: equation, evaluationsPerStep }] of all) {
      if (equation !== 'sde') continue;
      const distances: number[] = [];
      for (const budget of budgets.sde)
        distances.push(
          slicedWasserstein((await samplesOf(many, { solver: solver as SolverName, steps: budget / evaluationsPerStep })).samples, truth),
        );
      line(solver, 'distance', budgets.sde, distances);
    }
  }
  return results;
}
