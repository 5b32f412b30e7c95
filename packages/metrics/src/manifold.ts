/**
 * Precision and recall by nearest-neighbour manifolds (Kynkaanniemi et al. 2019), in float64 and on squared distances with
 * `<=`, as ADM's evaluator defines them; density and coverage (Naeem et al. 2020) on Euclidean distances with `<`.
 */
import { MetricError } from './errors.js';
import type { Features } from './features.js';
import { matrix, multiplyTransposed } from './linear-algebra/matrix.js';

/** Rows of one block of distances. */
const BLOCK = 1024;

/** Squared distances between rows `from ... to - 1` of `a` and all rows of `b`, row-major. */
function squaredDistances(a: Features, from: number, to: number, b: Features, squaredNormsB: Float64Array): Float64Array {
  const x = matrix(to - from, a.dimension, Float64Array.from(a.data.subarray(from * a.dimension, to * a.dimension)));
  const y = matrix(b.count, b.dimension, Float64Array.from(b.data));
  const norms = squaredNorms({ ...a, count: to - from, data: x.data });
  const products = multiplyTransposed(x, y).data;
  for (let i = 0; i < x.rows; i++) {
    for (let j = 0; j < b.count; j++) {
      const at = i * b.count + j;
      products[at] = Math.max(0, norms[i]! - 2 * products[at]! + squaredNormsB[j]!);
    }
  }
  return products;
}

function squaredNorms({ count, dimension, data }: Pick<Features, 'count' | 'dimension' | 'data'>): Float64Array {
  const norms = new Float64Array(count);
  for (let i = 0; i < count; i++) for (let j = 0; j < dimension; j++) norms[i]! += data[i * dimension + j]! ** 2;
  return norms;
}

/** Squared distance of every row to its `k`-th neighbour, the row itself being the 0th. */
export function squaredRadii(set: Features, k: number): Float64Array {
  if (!Number.isInteger(k) || k < 1 || k >= set.count)
    throw new MetricError('squaredRadii', `k must be between 1 and ${set.count - 1}, found ${k}.`);
  const norms = squaredNorms(set);
  const radii = new Float64Array(set.count);
  for (let from = 0; from < set.count; from += BLOCK) {
    const to = Math.min(set.count, from + BLOCK);
    const distances = squaredDistances(set, from, to, set, norms);
    for (let i = from; i < to; i++) radii[i] = distances.slice((i - from) * set.count, (i - from + 1) * set.count).sort()[k]!;
  }
  return radii;
}

/** Calls `visit` with the squared distances from each row of `a` to all rows of `b`. */
function forEachRow(a: Features, b: Features, visit: (row: number, distances: Float64Array) => void): void {
  if (a.dimension !== b.dimension) throw new MetricError('manifold', `the sets have ${a.dimension} and ${b.dimension} dimensions.`);
  const norms = squaredNorms(b);
  for (let from = 0; from < a.count; from += BLOCK) {
    const to = Math.min(a.count, from + BLOCK);
    const distances = squaredDistances(a, from, to, b, norms);
    for (let i = from; i < to; i++) visit(i, distances.subarray((i - from) * b.count, (i - from + 1) * b.count));
  }
}

export interface PrecisionRecall {
  precision: number;
  recall: number;
  /** Per sample: 1 if it lies inside the manifold of the reference. */
  sampleInside: Uint8Array;
  /** Per reference: 1 if it lies inside the manifold of the samples. */
  referenceInside: Uint8Array;
}

/**
 * Improved precision and recall.
 *
 * @param k neighbour that sets the radius (default 3, as ADM's evaluator and the paper)
 */
export function precisionRecall(reference: Features, sample: Features, k = 3): PrecisionRecall {
  const [referenceRadii, sampleRadii] = [squaredRadii(reference, k), squaredRadii(sample, k)];
  const sampleInside = new Uint8Array(sample.count);
  const referenceInside = new Uint8Array(reference.count);
  forEachRow(reference, sample, (i, distances) => {
    for (let j = 0; j < sample.count; j++) {
      if (distances[j]! <= referenceRadii[i]!) sampleInside[j] = 1;
      if (distances[j]! <= sampleRadii[j]!) referenceInside[i] = 1;
    }
  });
  const share = (inside: Uint8Array): number => inside.reduce((a, b) => a + b, 0) / inside.length;
  return { precision: share(sampleInside), recall: share(referenceInside), sampleInside, referenceInside };
}

export interface DensityCoverage {
  precision: number;
  recall: number;
  density: number;
  coverage: number;
}

/** Precision, recall, density and coverage with strict comparisons and the radius at the `k`-th neighbour (default 5, as PRDC). */
export function densityCoverage(reference: Features, sample: Features, k = 5): DensityCoverage {
  const referenceRadii = squaredRadii(reference, k).map(Math.sqrt);
  const sampleRadii = squaredRadii(sample, k).map(Math.sqrt);
  const inside = new Uint8Array(sample.count);
  let [hits, recalled, covered] = [0, 0, 0];
  forEachRow(reference, sample, (i, squared) => {
    let nearest = Number.POSITIVE_INFINITY;
    let found = false;
    for (let j = 0; j < sample.count; j++) {
      const distance = Math.sqrt(squared[j]!);
      nearest = Math.min(nearest, distance);
      if (distance < referenceRadii[i]!) {
        hits++;
        inside[j] = 1;
      }
      if (distance < sampleRadii[j]!) found = true;
    }
    if (found) recalled++;
    if (nearest < referenceRadii[i]!) covered++;
  });
  return {
    precision: inside.reduce((a, b) => a + b, 0) / sample.count,
    recall: recalled / reference.count,
    density: hits / (k * sample.count),
    coverage: covered / reference.count,
  };
}
