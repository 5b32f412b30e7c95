/**
 * Metrics on nearest-neighbour manifolds: precision and recall (Kynkaanniemi et al. 2019) on squared distances with `<=`, as
 * ADM's evaluator defines them; density, coverage and realism (Naeem et al. 2020) on Euclidean distances with `<`.
 */
import { MetricError } from './errors.js';
import type { Features } from './features.js';
import { squaredDistances, type TileOptions } from './squared-distances.js';

/** Squared distance of every row to its `k`-th neighbour, the row itself being the 0th. */
export function squaredRadii(set: Features, k: number, options: TileOptions = {}): Float64Array {
  if (!Number.isInteger(k) || k < 1 || k >= set.count)
    throw new MetricError('squaredRadii', `k must be between 1 and ${set.count - 1} for ${set.count} samples, found ${k}.`);
  // The k + 1 smallest distances of each row so far, ascending.
  const nearest = new Float64Array(set.count * (k + 1)).fill(Number.POSITIVE_INFINITY);
  for (const { rowStart, rows, columns, values } of squaredDistances(set, set, options)) {
    for (let i = 0; i < rows; i++) {
      const start = (rowStart + i) * (k + 1);
      for (let j = i * columns; j < (i + 1) * columns; j++) {
        const value = values[j];
        if (value >= nearest[start + k]) continue;
        let at = start + k;
        for (; at > start && nearest[at - 1] > value; at--) nearest[at] = nearest[at - 1];
        nearest[at] = value;
      }
    }
  }
  return Float64Array.from({ length: set.count }, (_, i) => nearest[i * (k + 1) + k]);
}

/** Precision and recall of generated samples. */
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
 * @param options `precision: 'float16-first'` reproduces the rounding of ADM's evaluator, which published numbers have
 */
export function precisionRecall(reference: Features, sample: Features, k = 3, options: TileOptions = {}): PrecisionRecall {
  const referenceRadii = squaredRadii(reference, k, options);
  const sampleRadii = squaredRadii(sample, k, options);
  const sampleInside = new Uint8Array(sample.count);
  const referenceInside = new Uint8Array(reference.count);
  for (const { rowStart, rows, columnStart, columns, values } of squaredDistances(reference, sample, options)) {
    for (let i = 0, at = 0; i < rows; i++) {
      for (let j = 0; j < columns; j++, at++) {
        if (values[at] <= referenceRadii[rowStart + i]) sampleInside[columnStart + j] = 1;
        if (values[at] <= sampleRadii[columnStart + j]) referenceInside[rowStart + i] = 1;
      }
    }
  }
  return { precision: share(sampleInside), recall: share(referenceInside), sampleInside, referenceInside };
}

const share = (inside: Uint8Array): number => inside.reduce((a, b) => a + b, 0) / inside.length;

/** Density and coverage of generated samples. */
export interface DensityCoverage {
  precision: number;
  recall: number;
  /** Mean number of reference balls that a sample lies in, over k; may exceed 1. */
  density: number;
  /** Share of references whose ball holds a sample. */
  coverage: number;
  /** Per sample: largest ratio of a ball's radius to the distance from its centre, over balls smaller than the median. */
  realism: Float64Array;
}

/** Precision, recall, density, coverage and realism with strict comparisons and the radius at the `k`-th neighbour (default 5, as PRDC). */
export function densityCoverage(reference: Features, sample: Features, k = 5): DensityCoverage {
  const referenceRadii = squaredRadii(reference, k).map(Math.sqrt);
  const sampleRadii = squaredRadii(sample, k).map(Math.sqrt);
  const small = median(referenceRadii);
  const nearest = new Float64Array(reference.count).fill(Number.POSITIVE_INFINITY);
  const recalled = new Uint8Array(reference.count);
  const inside = new Uint8Array(sample.count);
  const realism = new Float64Array(sample.count);
  let hits = 0;
  for (const { rowStart, rows, columnStart, columns, values } of squaredDistances(reference, sample)) {
    for (let i = 0, at = 0; i < rows; i++) {
      const radius = referenceRadii[rowStart + i];
      for (let j = 0; j < columns; j++, at++) {
        const distance = Math.sqrt(values[at]);
        const column = columnStart + j;
        if (distance < nearest[rowStart + i]) nearest[rowStart + i] = distance;
        if (distance < radius) {
          hits++;
          inside[column] = 1;
        }
        if (distance < sampleRadii[column]) recalled[rowStart + i] = 1;
        if (radius < small && radius / distance > realism[column]) realism[column] = radius / distance;
      }
    }
  }
  return {
    precision: share(inside),
    recall: share(recalled),
    density: hits / (k * sample.count),
    coverage: nearest.reduce((covered, distance, i) => covered + (distance < referenceRadii[i] ? 1 : 0), 0) / reference.count,
    realism,
  };
}

function median(values: Float64Array): number {
  const sorted = values.slice().sort();
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
