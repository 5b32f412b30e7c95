/**
 * Accuracy for evaluations: the distance of every solver's samples to the exact ones of a mixture of three normal distributions in
 * the plane, whose denoiser is known. Float64 on the host, no backend, no clock.
 */
import {
  ddimSteps,
  dpmSolverSteps,
  eulerSteps,
  flowPath,
  GaussianDiffusion,
  type GridName,
  gaussianPath,
  heunSteps,
  type LinearStep,
  levels,
  type NoiseLevel,
  sdeLevels,
  sdeSteps,
  uniPcSteps,
} from '@dit-moe/diffusion';
import { difference, exactClean, mixturePoints, normalPoints, runFloat64, slicedWasserstein } from '../packages/diffusion/test/mixture.js';
import { type BenchmarkOptions, type BenchmarkResult, result } from './harness/benchmark.js';

export const description = 'error of every solver against its number of evaluations, on a mixture with a known denoiser';

type Plan = (at: readonly NoiseLevel[]) => LinearStep[];
const deterministic: Record<string, { plan: Plan; evaluations?: number; multistep?: boolean }> = {
  euler: { plan: eulerSteps },
  heun: { plan: heunSteps, evaluations: 2 },
  ddim: { plan: (at) => ddimSteps(at) },
  'dpm++2m': { plan: (at) => dpmSolverSteps(at), multistep: true },
  'dpm++3m': { plan: (at) => dpmSolverSteps(at, { order: 3 }), multistep: true },
  unipc: { plan: (at) => uniPcSteps(at), multistep: true },
  'unipc-bh1': { plan: (at) => uniPcSteps(at, { variant: 'bh1' }), multistep: true },
  unipc3: { plan: (at) => uniPcSteps(at, { order: 3 }), multistep: true },
};
const paths = { flow: flowPath('linear'), gaussian: gaussianPath(new GaussianDiffusion()) };
const BUDGETS = [6, 10, 16, 20, 50];

export async function run({ quick, log }: BenchmarkOptions): Promise<BenchmarkResult[]> {
  const results: BenchmarkResult[] = [];
  const start = normalPoints(quick ? 512 : 1024);
  for (const [kind, path] of Object.entries(paths)) {
    const exact = runFloat64(uniPcSteps(levels(path, { steps: 600, grid: 'exponential' }), { order: 3 }), start);
    log(`${kind}, root mean square distance to the exact samples of the same noise, at ${BUDGETS.join(', ')} evaluations`);
    for (const [name, { plan, evaluations = 1, multistep = false }] of Object.entries(deterministic)) {
      const grid: GridName = multistep && kind === 'gaussian' ? 'exponential' : 'uniform';
      const errors = BUDGETS.map((budget) =>
        difference(runFloat64(plan(levels(path, { steps: budget / evaluations, grid })), start), exact),
      );
      log(`  ${name.padEnd(16)} ${grid.padEnd(12)} ${errors.map((error) => error.toFixed(4)).join('  ')}`);
      for (const [i, error] of errors.entries()) results.push(result(`${kind}-${name}-${BUDGETS[i]}`, 'distance', 'less', error, null));
    }
  }
  const points = quick ? 2048 : 8192;
  const [noise, truth] = [normalPoints(points), mixturePoints(points, 1)];
  const stochastic: Record<string, (steps: number) => LinearStep[]> = {
    'ddpm (ancestral)': (steps) => ddimSteps(levels(paths.flow, { steps }), 1),
    'dpm++2m-sde': (steps) => dpmSolverSteps(levels(paths.flow, { steps }), { eta: 1 }),
    'dpm++3m-sde': (steps) => dpmSolverSteps(levels(paths.flow, { steps }), { order: 3, eta: 1 }),
    'euler-maruyama': (steps) => sdeSteps(sdeLevels(paths.flow, steps)),
    'sde-heun': (steps) => sdeSteps(sdeLevels(paths.flow, steps / 2), { heun: true }),
  };
  const floor = slicedWasserstein(mixturePoints(points, 2), truth);
  log(
    `flow, sliced Wasserstein distance of ${points} samples to the mixture, at 10, 20, 50, 100 evaluations; of the mixture itself ${floor.toFixed(4)}`,
  );
  for (const [name, plan] of Object.entries(stochastic)) {
    const errors = [10, 20, 50, 100].map((budget) =>
      slicedWasserstein(
        runFloat64(plan(budget), noise, exactClean, (step) => normalPoints(points, step + 2)),
        truth,
      ),
    );
    log(`  ${name.padEnd(29)} ${errors.map((error) => error.toFixed(4)).join('  ')}`);
    for (const [i, error] of errors.entries())
      results.push(result(`flow-${name}-${[10, 20, 50, 100][i]}`, 'distance', 'less', error, null));
  }
  return results;
}
