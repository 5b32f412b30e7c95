/** Where a solver's steps lie between noise and clean data. */
import { ArgumentError } from '@dit-moe/tensor-ops';
import { logRatio, type NoiseLevel, type Path } from './paths.js';
import { checkWord } from './words.js';

/**
 * - `uniform`: evenly in what the model is told, time or timestep, shifted towards noise or data on request
 * - `karras`: evenly in the seventh root of `sigma / alpha` (Karras et al. 2022, equation 5)
 * - `exponential`: evenly in `log(sigma / alpha)`, from `steps` to `1 / (2 steps)`: the more steps, the further out. The grid of
 *   exponential integrators (DPM-Solver++, UniPC); with wider ends, few steps are too far apart where the samples take shape
 */
export type GridName = 'uniform' | 'karras' | 'exponential';

/** Where the steps of a solver lie. */
export interface GridOptions {
  /** Number of steps; one more level, clean data at the end. */
  steps: number;
  /** A name, or the places themselves, falling from noise to 0. */
  grid?: GridName | readonly number[];
  /** Of the uniform grid, see `Path.uniform` (default 1). */
  shift?: number;
}

/** Ends of `sigma / alpha` and exponent of the Karras grid (Karras et al. 2022, table 1). */
const [LARGEST_RATIO, SMALLEST_RATIO, RHO] = [80, 0.002, 7];

/**
 * Levels of a sampling run, from the path's start to clean data.
 * @throws ArgumentError on an unknown grid, a number of steps that is no positive integer, a shift that is not positive, or
 *   places that do not fall strictly within the path
 */
export function levels(path: Path, { steps, grid = 'uniform', shift = 1 }: GridOptions): NoiseLevel[] {
  if (typeof grid !== 'string') return grid.map((t, i) => path.level(checkFalling(t, grid[i - 1], path)));
  checkWord('levels: grid', grid, ['uniform', 'karras', 'exponential']);
  if (!Number.isInteger(steps) || steps < 1) throw new ArgumentError('levels: steps', 'a positive integer', steps);
  if (!(shift > 0 && shift < Number.POSITIVE_INFINITY)) throw new ArgumentError('levels: shift', 'a positive number', shift);
  if (shift !== 1 && grid !== 'uniform') throw new ArgumentError('levels: shift', 'no shift for this grid', `${grid} and ${shift}`);
  return [...places(path, steps, grid, shift), 0].map((t) => path.level(t));
}

function places(path: Path, steps: number, grid: GridName, shift: number): number[] {
  const ratioAt = (t: number): number => Math.exp(-logRatio(path.level(t)));
  /** Evenly in a function of `sigma / alpha`, as far as the path goes. */
  const spread = (largest: number, smallest: number, curve: (ratio: number) => number, inverse: (value: number) => number) => {
    const [from, to] = [curve(Math.min(largest, ratioAt(path.start))), curve(Math.max(smallest, ratioAt(path.end)))];
    const at = (i: number) => path.placeOf(-Math.log(inverse(from + (i / (steps - 1)) * (to - from))));
    // The first place is the path's own start even where the ratio there is larger or infinite.
    return Array.from({ length: steps }, (_, i) => (i === 0 ? path.start : at(i)));
  };
  if (grid === 'uniform') return path.uniform(steps, shift);
  if (grid === 'exponential') return spread(steps, 1 / (2 * steps), Math.log, Math.exp);
  return spread(
    LARGEST_RATIO,
    SMALLEST_RATIO,
    (ratio) => ratio ** (1 / RHO),
    (root) => root ** RHO,
  );
}

function checkFalling(t: number, before: number | undefined, path: Path): number {
  if (!(t >= 0 && t < (before ?? Number.POSITIVE_INFINITY) && t <= path.start))
    throw new ArgumentError('levels: grid', `places that fall strictly from at most ${path.start} to 0`, `${t} after ${before}`);
  return t;
}
