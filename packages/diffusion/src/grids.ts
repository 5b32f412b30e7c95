/** Where a solver's steps lie between noise and clean data. */
import { ArgumentError } from '@dit-moe/tensor-ops';
import { logRatio, type NoiseLevel, type Path } from './paths.js';

/**
 * - `uniform`: evenly in what the model is told, time or timestep, shifted towards noise or data on request
 * - `karras`: evenly in the seventh root of `sigma / alpha` (Karras et al. 2022, equation 5)
 * - `exponential`: evenly in `log(sigma / alpha)`, the grid of exponential integrators (DPM-Solver++, UniPC)
 */
export type GridName = 'uniform' | 'karras' | 'exponential';

export interface GridOptions {
  /** Number of steps; one more level, clean data at the end. */
  steps: number;
  /** A name, or the places themselves, falling from noise to 0. */
  grid?: GridName | readonly number[];
  /** Of the uniform grid, see `Path.uniform` (default 1). */
  shift?: number;
}

/** Ends of `sigma / alpha` for the latter two grids where the path goes on to infinity and zero (Karras et al. 2022, table 1). */
const [LARGEST_RATIO, SMALLEST_RATIO] = [80, 0.002];
const RHO = 7;

/**
 * Levels of a sampling run, from the path's start to clean data.
 * @throws ArgumentError on an unknown grid, a number of steps that is no positive integer, a shift that is not positive, or
 *   places that do not fall strictly within the path
 */
export function levels(path: Path, { steps, grid = 'uniform', shift = 1 }: GridOptions): NoiseLevel[] {
  if (typeof grid !== 'string') return grid.map((t, i) => path.level(checkFalling(t, grid[i - 1], path)));
  if (!Number.isInteger(steps) || steps < 1) throw new ArgumentError('levels: steps', 'a positive integer', steps);
  if (!(shift > 0 && shift < Number.POSITIVE_INFINITY)) throw new ArgumentError('levels: shift', 'a positive number', shift);
  if (shift !== 1 && grid !== 'uniform') throw new ArgumentError('levels: shift', 'no shift for this grid', `${grid} and ${shift}`);
  return [...places(path, steps, grid, shift), 0].map((t) => path.level(t));
}

function places(path: Path, steps: number, grid: GridName, shift: number): number[] {
  if (grid === 'uniform') return path.uniform(steps, shift);
  const ratioAt = (t: number): number => Math.exp(-logRatio(path.level(t)));
  const [largest, smallest] = [Math.min(LARGEST_RATIO, ratioAt(path.start)), Math.max(SMALLEST_RATIO, ratioAt(path.end))];
  const between = (i: number): number => {
    const share = i / (steps - 1);
    if (grid === 'exponential') return (1 - share) * Math.log(largest) + share * Math.log(smallest);
    if (grid === 'karras') return RHO * Math.log((1 - share) * largest ** (1 / RHO) + share * smallest ** (1 / RHO));
    throw new ArgumentError('levels: grid', 'uniform, karras or exponential', grid);
  };
  // The first place is the path's own start even where the ratio there is infinite.
  return Array.from({ length: steps }, (_, i) => (i === 0 ? path.start : path.placeOf(-between(i))));
}

function checkFalling(t: number, before: number | undefined, path: Path): number {
  if (!(t >= 0 && t < (before ?? Number.POSITIVE_INFINITY) && t <= path.start))
    throw new ArgumentError('levels: grid', `places that fall strictly from at most ${path.start} to 0`, `${t} after ${before}`);
  return t;
}
