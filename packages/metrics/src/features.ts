import { MetricError } from './errors.js';

/** One feature vector per row, row-major. */
export interface Features {
  readonly count: number;
  readonly dimension: number;
  readonly data: Float32Array | Float64Array;
}

/**
 * Wraps `[count, dimension]` feature values.
 * @throws MetricError if the number of values does not fit
 */
export function features(data: Float32Array | Float64Array, dimension: number): Features {
  if (!Number.isInteger(dimension) || dimension < 1 || data.length % dimension !== 0) {
    throw new MetricError('features', `${data.length} values are not a whole number of rows of ${dimension}.`);
  }
  return { count: data.length / dimension, dimension, data };
}

/** Rows of `features` in the given order. */
export function selectRows({ dimension, data }: Features, rows: ArrayLike<number>): Features {
  const selected = data instanceof Float64Array ? new Float64Array(rows.length * dimension) : new Float32Array(rows.length * dimension);
  for (let i = 0; i < rows.length; i++) selected.set(data.subarray(rows[i] * dimension, (rows[i] + 1) * dimension), i * dimension);
  return { count: rows.length, dimension, data: selected };
}
