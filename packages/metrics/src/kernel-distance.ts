/** Kernel Inception Distance (Binkowski et al. 2018): unbiased squared MMD with the kernel `(x.y / D + 1)^3`. */
import { MetricError } from './errors.js';
import { type Features, selectRows } from './features.js';
import { matrix, multiplyTransposed } from './linear-algebra/matrix.js';

/** Unbiased squared maximum mean discrepancy of two sets; slightly negative values are valid. */
export function polynomialMmd(a: Features, b: Features): number {
  if (a.dimension !== b.dimension) throw new MetricError('polynomialMmd', `the sets have ${a.dimension} and ${b.dimension} dimensions.`);
  if (a.count < 2 || b.count < 2)
    throw new MetricError('polynomialMmd', `each set needs at least 2 samples, found ${a.count} and ${b.count}.`);
  const [x, y] = [a, b].map(({ count, dimension, data }) => matrix(count, dimension, Float64Array.from(data))) as [
    ReturnType<typeof matrix>,
    ReturnType<typeof matrix>,
  ];
  const kernelSum = (p: typeof x, q: typeof x, skipDiagonal: boolean): number => {
    const products = multiplyTransposed(p, q);
    let sum = 0;
    for (let i = 0; i < p.rows; i++) {
      for (let j = 0; j < q.rows; j++) if (!skipDiagonal || i !== j) sum += (products.data[i * q.rows + j]! / a.dimension + 1) ** 3;
    }
    return sum;
  };
  return (
    kernelSum(x, x, true) / (a.count * (a.count - 1)) +
    kernelSum(y, y, true) / (b.count * (b.count - 1)) -
    (2 * kernelSum(x, y, false)) / (a.count * b.count)
  );
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
