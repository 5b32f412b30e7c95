/**
 * Streaming mean and covariance in float64, mergeable in any order (Chan, Golub and LeVeque 1983): batches are centred before
 * their products are summed, so that large means cost no digits.
 */
import { MetricError } from './errors.js';
import type { Features } from './features.js';
import { type Matrix, matrix, multiplyTransposed } from './linear-algebra/matrix.js';

/** Mean and covariance (divisor N - 1) of N feature vectors. */
export interface Moments {
  readonly count: number;
  /** `[D]` */
  readonly mean: Float64Array;
  /** `[D, D]`, symmetric */
  readonly covariance: Matrix;
}

/** Rows that are centred and multiplied at once. */
const BATCH = 512;

export class StreamingMoments {
  readonly dimension: number;
  private count = 0;
  private readonly mean: Float64Array;
  /** Sum of squared deviations. */
  private readonly scatter: Matrix;

  constructor(dimension: number) {
    this.dimension = dimension;
    this.mean = new Float64Array(dimension);
    this.scatter = matrix(dimension, dimension);
  }

  /**
   * Adds feature vectors.
   * @throws MetricError if the dimension differs or a value is not finite
   */
  add(batch: Features): void {
    const { dimension } = this;
    if (batch.dimension !== dimension)
      throw new MetricError('StreamingMoments', `features have ${batch.dimension} dimensions, expected ${dimension}.`);
    for (let from = 0; from < batch.count; from += BATCH) {
      const rows = Math.min(BATCH, batch.count - from);
      const mean = new Float64Array(dimension);
      for (let i = 0; i < rows; i++) for (let j = 0; j < dimension; j++) mean[j]! += batch.data[(from + i) * dimension + j]!;
      for (let j = 0; j < dimension; j++) {
        mean[j]! /= rows;
        if (!Number.isFinite(mean[j]!))
          throw new MetricError('StreamingMoments', `a value in rows ${from} to ${from + rows - 1}, dimension ${j} is not finite.`);
      }
      // One row per dimension, so that products run along rows.
      const centred = matrix(dimension, rows);
      for (let i = 0; i < rows; i++)
        for (let j = 0; j < dimension; j++) centred.data[j * rows + i] = batch.data[(from + i) * dimension + j]! - mean[j]!;
      this.combine(rows, mean, multiplyTransposed(centred, centred, true));
    }
  }

  /** Adds what another accumulator has seen. */
  merge(other: StreamingMoments): void {
    if (other.dimension !== this.dimension)
      throw new MetricError('StreamingMoments', `cannot merge ${other.dimension} dimensions into ${this.dimension}.`);
    this.combine(other.count, other.mean, other.scatter);
  }

  /**
   * Mean and covariance of everything added.
   * @throws MetricError with fewer than two samples
   */
  moments(): Moments {
    if (this.count < 2) throw new MetricError('StreamingMoments', `a covariance needs at least 2 samples, found ${this.count}.`);
    const covariance = matrix(this.dimension, this.dimension);
    for (let i = 0; i < covariance.data.length; i++) covariance.data[i] = this.scatter.data[i]! / (this.count - 1);
    return { count: this.count, mean: this.mean.slice(), covariance };
  }

  private combine(count: number, mean: Float64Array, scatter: Matrix): void {
    if (count === 0) return;
    const total = this.count + count;
    const { dimension } = this;
    const delta = new Float64Array(dimension);
    for (let j = 0; j < dimension; j++) delta[j] = mean[j]! - this.mean[j]!;
    const weight = (this.count * count) / total;
    for (let i = 0; i < dimension; i++) {
      const scaled = delta[i]! * weight;
      for (let j = 0; j < dimension; j++) this.scatter.data[i * dimension + j]! += scatter.data[i * dimension + j]! + scaled * delta[j]!;
    }
    for (let j = 0; j < dimension; j++) this.mean[j]! += (delta[j]! * count) / total;
    this.count = total;
  }
}

/** Mean and covariance of a set of features. */
export function momentsOf(set: Features): Moments {
  const moments = new StreamingMoments(set.dimension);
  moments.add(set);
  return moments.moments();
}
