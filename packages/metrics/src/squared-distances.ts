/**
 * Squared Euclidean distances between two sets in tiles, so that 50,000 x 50,000 of them never exist at once.
 *
 * `exact` computes in float64. `float16-first` rounds as ADM's evaluator does: features, squares, sums and every further step
 * to float16, sums accumulated in float32; a tile in which anything overflows is done again in float32.
 */
import { MetricError } from './errors.js';
import type { Features } from './features.js';
import { productTransposed } from './linear-algebra/decompositions.js';
import { roundToHalf } from './linear-algebra/half.js';
import { matrix } from './linear-algebra/matrix.js';

/** How distances are rounded; see the head of this file. */
export type DistancePrecision = 'exact' | 'float16-first';

/** Rows and columns of a tile: for `exact` so that a tile has 32 MiB, for `float16-first` what ADM's evaluator takes. */
const TILE: Record<DistancePrecision, number> = { exact: 2048, 'float16-first': 10_000 };

/** How a large matrix of distances is computed in parts. */
export interface TileOptions {
  /** Default `exact`. */
  precision?: DistancePrecision;
  /** Rows and columns of a tile (default 10,000 for `float16-first`, where it decides how much an overflow affects). */
  tile?: number;
}

/** A tile: distance of row `i` of the first set to row `j` of the second at `values[(i - rowStart) * columns + j - columnStart]`. */
export interface DistanceTile {
  rowStart: number;
  rows: number;
  columnStart: number;
  columns: number;
  values: Float64Array;
}

/** All tiles of the distances from `a` to `b`, row of tiles by row of tiles. */
export function* squaredDistances(a: Features, b: Features, options: TileOptions = {}): Generator<DistanceTile> {
  if (a.dimension !== b.dimension) throw new MetricError('squaredDistances', `the sets have ${a.dimension} and ${b.dimension} dimensions.`);
  const { precision = 'exact' } = options;
  const size = options.tile ?? TILE[precision];
  if (!Number.isInteger(size) || size < 1) throw new MetricError('squaredDistances', `the tile must be a positive integer, found ${size}.`);
  const distances = precision === 'exact' ? exact : float16First;
  for (let rowStart = 0; rowStart < a.count; rowStart += size) {
    const rows = Math.min(size, a.count - rowStart);
    const x = part(a, rowStart, rows);
    for (let columnStart = 0; columnStart < b.count; columnStart += size) {
      const columns = Math.min(size, b.count - columnStart);
      const y = a === b && rowStart === columnStart ? x : part(b, columnStart, columns);
      yield { rowStart, rows, columnStart, columns, values: distances(x, y, a.dimension) };
    }
  }
}

function part({ data, dimension }: Features, start: number, rows: number): Float64Array {
  const values = Float64Array.from(data.subarray(start * dimension, (start + rows) * dimension));
  if (!values.every(Number.isFinite))
    throw new MetricError('squaredDistances', `a feature in rows ${start} to ${start + rows - 1} is not finite.`);
  return values;
}

/** `x y^T`, row-major. */
function products(x: Float64Array, y: Float64Array, dimension: number): Float64Array {
  const left = matrix(x.length / dimension, dimension, x);
  return productTransposed(left, x === y ? left : matrix(y.length / dimension, dimension, y)).data;
}

/** `f` of every row's sum of squares, each square rounded by `round`, sums by `accumulate`. */
function squaredNorms(
  x: Float64Array,
  dimension: number,
  round: (v: number) => number = same,
  accumulate: (v: number) => number = same,
): Float64Array {
  const norms = new Float64Array(x.length / dimension);
  for (let i = 0; i < norms.length; i++) {
    let sum = 0;
    for (let j = i * dimension; j < (i + 1) * dimension; j++) sum = accumulate(sum + round(x[j] * x[j]));
    norms[i] = round(sum);
  }
  return norms;
}

const same = (v: number): number => v;

/** `max(0, |x|^2 - 2 x.y + |y|^2)`, every step rounded by `round`. */
function combine(dots: Float64Array, normsX: Float64Array, normsY: Float64Array, round: (v: number) => number): Float64Array {
  const columns = normsY.length;
  for (let i = 0; i < normsX.length; i++) {
    for (let j = 0; j < columns; j++) {
      const at = i * columns + j;
      dots[at] = Math.max(0, round(round(normsX[i] - round(2 * round(dots[at]))) + normsY[j]));
    }
  }
  return dots;
}

function exact(x: Float64Array, y: Float64Array, dimension: number): Float64Array {
  const normsX = squaredNorms(x, dimension);
  const normsY = x === y ? normsX : squaredNorms(y, dimension);
  const values = products(x, y, dimension);
  for (let i = 0, at = 0; i < normsX.length; i++)
    for (let j = 0; j < normsY.length; j++, at++) values[at] = Math.max(0, normsX[i] - 2 * values[at] + normsY[j]);
  return values;
}

function float16First(x: Float64Array, y: Float64Array, dimension: number): Float64Array {
  const [hx, hy] = [x.map(roundToHalf), y.map(roundToHalf)];
  const norms = [hx, hy].map((h) => squaredNorms(h, dimension, roundToHalf, Math.fround)) as [Float64Array, Float64Array];
  if ([hx, hy, ...norms].every((values) => values.every(Number.isFinite))) {
    const halves = combine(products(hx, hy, dimension), norms[0], norms[1], roundToHalf);
    if (halves.every(Number.isFinite)) return halves;
  }
  const round = Math.fround;
  return combine(products(x, y, dimension), squaredNorms(x, dimension, round, round), squaredNorms(y, dimension, round, round), round);
}
