/**
 * Streaming mean and covariance in float64, mergeable in any order (Chan, Golub and LeVeque 1983): batches are centred before
 * their products are summed, so that large means cost no digits.
 */
import { MetricError } from './errors.js';
import type { Features } from './features.js';
import { gram } from './linear-algebra/decompositions.js';
import { type Matrix, matrix } from './linear-algebra/matrix.js';

/** Mean and covariance (divisor N - 1) of N feature vectors. */
export interface Moments {
  readonly count: number;
  /** `[D]` */
  readonly mean: Float64Array;
  /** `[D, D]`, symmetric */
  readonly covariance: Matrix;
}

/** Rows that are centred and multiplied at once. */
const BATCH = 1024;

/** Mean and covariance of feature vectors that come in batches, from any number of workers. */
export class StreamingMoments {
  readonly dimension: number;
  private combined = 0;
  private readonly mean: Float64Array;
  /** Sum of squared deviations. */
  private readonly scatter: Matrix;
  /** Rows that are not combined yet. */
  private waiting = new Float64Array(0);
  private rows = 0;

  constructor(dimension: number) {
    this.dimension = dimension;
    this.mean = new Float64Array(dimension);
    this.scatter = matrix(dimension, dimension);
  }

  /** Vectors added so far. */
  get count(): number {
    return this.combined + this.rows;
  }

  /**
   * Adds feature vectors.
   * @throws MetricError if the dimension differs or a value is not finite; nothing is added then
   */
  add(batch: Features): void {
    const { dimension } = this;
    if (batch.dimension !== dimension)
      throw new MetricError('StreamingMoments', `features have ${batch.dimension} dimensions, expected ${dimension}.`);
    const bad = batch.data.findIndex((value: number) => !Number.isFinite(value));
    if (bad >= 0)
      throw new MetricError(
        'StreamingMoments',
        `row ${Math.floor(bad / dimension)}, dimension ${bad % dimension} is not finite: ${batch.data[bad]}.`,
      );
    for (let from = 0; from < batch.count; ) {
      if (this.waiting.length === 0) this.waiting = new Float64Array(BATCH * dimension);
      const taken = Math.min(batch.count - from, BATCH - this.rows);
      this.waiting.set(batch.data.subarray(from * dimension, (from + taken) * dimension), this.rows * dimension);
      this.rows += taken;
      from += taken;
      if (this.rows === BATCH) this.flush();
    }
  }

  /** Adds what another accumulator has seen. */
  merge(other: StreamingMoments): void {
    if (other.dimension !== this.dimension)
      throw new MetricError('StreamingMoments', `cannot merge ${other.dimension} dimensions into ${this.dimension}.`);
    other.flush();
    this.combine(other.combined, other.mean, other.scatter);
  }

  /**
   * Mean and covariance of everything added.
   * @throws MetricError with fewer than two samples
   */
  moments(): Moments {
    if (this.count < 2) throw new MetricError('StreamingMoments', `a covariance needs at least 2 samples, found ${this.count}.`);
    this.flush();
    const covariance = matrix(this.dimension, this.dimension);
    for (let i = 0; i < covariance.data.length; i++) covariance.data[i] = this.scatter.data[i] / (this.count - 1);
    return { count: this.count, mean: this.mean.slice(), covariance };
  }

  /** Centres the waiting rows and combines them. */
  private flush(): void {
    const { dimension, rows, waiting } = this;
    if (rows === 0) return;
    const values = waiting.subarray(0, rows * dimension);
    const mean = new Float64Array(dimension);
    for (let i = 0, at = 0; i < rows; i++) for (let j = 0; j < dimension; j++, at++) mean[j] += values[at];
    for (let j = 0; j < dimension; j++) mean[j] /= rows;
    for (let i = 0, at = 0; i < rows; i++) for (let j = 0; j < dimension; j++, at++) values[at] -= mean[j];
    this.rows = 0;
    this.combine(rows, mean, gram(matrix(rows, dimension, values)));
  }

  private combine(count: number, mean: Float64Array, scatter: Matrix): void {
    if (count === 0) return;
    const total = this.combined + count;
    const { dimension } = this;
    const delta = new Float64Array(dimension);
    for (let j = 0; j < dimension; j++) delta[j] = mean[j] - this.mean[j];
    const weight = (this.combined * count) / total;
    for (let i = 0; i < dimension; i++) {
      const scaled = delta[i] * weight;
      for (let j = 0; j < dimension; j++) this.scatter.data[i * dimension + j] += scatter.data[i * dimension + j] + scaled * delta[j];
    }
    for (let j = 0; j < dimension; j++) this.mean[j] += (delta[j] * count) / total;
    this.combined = total;
  }
}

/** Mean and covariance of a set of features. */
export function momentsOf(set: Features): Moments {
  const moments = new StreamingMoments(set.dimension);
  moments.add(set);
  return moments.moments();
}
