/**
 * Kernel distances: KID (Binkowski et al. 2018), unbiased squared MMD with the kernel `(x.y / D + 1)^3`, and CMMD (Jayasumana et
 * al. 2024), biased squared MMD of CLIP embeddings with a Gaussian kernel.
 */
import { MetricError } from './errors.js';
import { type Features, selectRows } from './features.js';
import { productTransposed } from './linear-algebra/decompositions.js';
import { matrix } from './linear-algebra/matrix.js';
import { randomRows } from './random-rows.js';
import { squaredDistances } from './squared-distances.js';

/** Rows of one tile of the kernel matrix. */
const TILE = 2048;

/** Unbiased squared maximum mean discrepancy of two sets with KID's kernel; slightly negative values are valid. */
export function polynomialMmd(a: Features, b: Features): number {
  if (a.dimension !== b.dimension) throw new MetricError('polynomialMmd', `the sets have ${a.dimension} and ${b.dimension} dimensions.`);
  if (a.count < 2 || b.count < 2)
    throw new MetricError('polynomialMmd', `each set needs at least 2 samples, found ${a.count} and ${b.count}.`);
  return (
    kernelSum(a, a) / (a.count * (a.count - 1)) + kernelSum(b, b) / (b.count * (b.count - 1)) - (2 * kernelSum(a, b)) / (a.count * b.count)
  );
}

/** Sum of the kernel over all pairs, without the diagonal if both sets are one. */
function kernelSum(a: Features, b: Features): number {
  let sum = 0;
  for (let i = 0; i < a.count; i += TILE) {
    const x = rows(a, i);
    for (let j = 0; j < b.count; j += TILE) {
      const y = a === b && i === j ? x : rows(b, j);
      const { data } = productTransposed(x, y);
      for (let at = 0; at < data.length; at++) if (x !== y || at % (y.rows + 1) !== 0) sum += (data[at] / a.dimension + 1) ** 3;
    }
  }
  return sum;
}

function rows({ count, dimension, data }: Features, from: number) {
  const to = Math.min(count, from + TILE);
  return matrix(to - from, dimension, Float64Array.from(data.subarray(from * dimension, to * dimension)));
}

/** Mean and population standard deviation over subsets. */
export interface KernelDistance {
  mean: number;
  std: number;
  perSubset: number[];
}

/**
 * KID over given subsets of rows.
 *
 * @param subsets row numbers of each subset in `a` and in `b`
 */
export function kernelDistance(
  a: Features,
  b: Features,
  subsets: readonly { a: ArrayLike<number>; b: ArrayLike<number> }[],
): KernelDistance {
  if (subsets.length === 0) throw new MetricError('kernelDistance', 'no subsets were given.');
  const perSubset = subsets.map((rows) => polynomialMmd(selectRows(a, rows.a), selectRows(b, rows.b)));
  const mean = perSubset.reduce((s, v) => s + v, 0) / perSubset.length;
  return { mean, std: Math.sqrt(perSubset.reduce((s, v) => s + (v - mean) ** 2, 0) / perSubset.length), perSubset };
}

/**
 * Random subsets for {@link kernelDistance}, rows without repetition.
 * @param options `subsets` (default 100) of `size` rows (default 1000, at most the smaller set), drawn from `seed` (default 0)
 */
export function randomSubsets(
  countA: number,
  countB: number,
  { subsets = 100, size = 1000, seed = 0 }: { subsets?: number; size?: number; seed?: number } = {},
): { a: Int32Array; b: Int32Array }[] {
  const rows = Math.min(size, countA, countB);
  return Array.from({ length: subsets }, (_, epoch) => ({
    a: randomRows(countA, rows, seed, 'kid-a', epoch),
    b: randomRows(countB, rows, seed, 'kid-b', epoch),
  }));
}

/** Bandwidth of CMMD's kernel, and the factor that makes its values readable (google-research/cmmd). */
const CMMD_SIGMA = 10;
const CMMD_SCALE = 1000;

/** CMMD of two sets of CLIP embeddings of length 1: 1000 times the biased squared MMD with the kernel `exp(-|x - y|^2 / 200)`. */
export function cmmd(a: Features, b: Features): number {
  const mean = (x: Features, y: Features): number => {
    let sum = 0;
    for (const { values } of squaredDistances(x, y)) for (const value of values) sum += Math.exp(-value / (2 * CMMD_SIGMA ** 2));
    return sum / (x.count * y.count);
  };
  return CMMD_SCALE * (mean(a, a) + mean(b, b) - 2 * mean(a, b));
}
