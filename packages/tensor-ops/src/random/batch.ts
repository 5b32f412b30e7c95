/**
 * Random tensors for a batch of samples: row `b` holds exactly the numbers of sample `indices[b]`, whatever else is in the batch.
 *
 * They are made on the host, so inside a compiled step they would be frozen into it: draw before the step and pass them in.
 */
import * as tf from '@tensorflow/tfjs-core';
import { DitMoeError } from '../errors.js';
import { tensorFlowBackend } from '../tensorflow-backend.js';
import { fillIntegers, fillNormal, fillUniform } from './distributions.js';
import { philoxKey, type RandomKey } from './key.js';
import type { PhiloxKey } from './philox.js';

/** The random numbers of a batch of samples. */
export interface RandomBatch extends RandomKey {
  /** Global index of each sample, [B]. */
  indices: ArrayLike<number>;
}

/** Random numbers were drawn while a compiled step was being recorded, which would repeat the same numbers in every run. */
export class FrozenRandomError extends DitMoeError {
  static override readonly code = 'E_FROZEN_RANDOM';
  constructor(operation: string) {
    super(
      `${operation} was called while a compiled step was being recorded; its numbers would be the same in every run. ` +
        'Draw them before the step and pass the tensor in.',
    );
  }
}

/**
 * Standard normal numbers in host memory, `length` for each sample, [B * length]: what {@link randomNormal} gives, with one key for all.
 * @throws ArgumentError if the seed or an index is not an integer in [0, 2^53)
 */
export function normalRows({ indices, ...key }: RandomBatch, length: number): Float32Array {
  return fillRows(new Float32Array(indices.length * length), indices, philoxKey(key), fillNormal);
}

/**
 * Numbers uniform in [0, 1) in host memory, `length` for each sample, [B * length]: what {@link randomUniform} gives, with one key for all.
 * @throws ArgumentError if the seed or an index is not an integer in [0, 2^53)
 */
export function uniformRows({ indices, ...key }: RandomBatch, length: number): Float32Array {
  return fillRows(new Float32Array(indices.length * length), indices, philoxKey(key), fillUniform);
}

/**
 * Standard normal numbers, [B, ...shape], float32.
 * @throws FrozenRandomError inside a compiled step that is being recorded
 */
export function randomNormalBatch(batch: RandomBatch, shape: readonly number[]): tf.Tensor {
  refuseRecording('randomNormalBatch');
  return tf.tensor(normalRows(batch, tf.util.sizeFromShape(shape as number[])), [batch.indices.length, ...shape]);
}

/**
 * Numbers uniform in [0, 1), [B, ...shape], float32.
 * @throws FrozenRandomError inside a compiled step that is being recorded
 */
export function randomUniformBatch(batch: RandomBatch, shape: readonly number[]): tf.Tensor {
  refuseRecording('randomUniformBatch');
  return tf.tensor(uniformRows(batch, tf.util.sizeFromShape(shape as number[])), [batch.indices.length, ...shape]);
}

/**
 * Integers uniform in [0, below), [B, ...shape], int32.
 *
 * @param below integer in [1, 2^31]
 * @throws FrozenRandomError inside a compiled step that is being recorded
 */
export function randomIntegersBatch({ indices, ...key }: RandomBatch, shape: readonly number[], below: number): tf.Tensor {
  refuseRecording('randomIntegersBatch');
  const values = new Int32Array(indices.length * tf.util.sizeFromShape(shape as number[]));
  const filled = fillRows(values, indices, philoxKey(key), (row, philox, index) => fillIntegers(row, philox, index, below));
  return tf.tensor(filled, [indices.length, ...shape]);
}

function refuseRecording(operation: string): void {
  if (tensorFlowBackend()?.recording) throw new FrozenRandomError(operation);
}

/** Fills one row of `values` for each index. */
function fillRows<A extends Float32Array | Int32Array>(
  values: A,
  indices: ArrayLike<number>,
  key: PhiloxKey,
  fill: (row: A, key: PhiloxKey, index: number) => void,
): A {
  const length = values.length / Math.max(1, indices.length);
  for (let b = 0; b < indices.length; b++) fill(values.subarray(b * length, (b + 1) * length) as A, key, indices[b]);
  return values;
}
