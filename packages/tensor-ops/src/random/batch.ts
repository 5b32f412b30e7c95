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
  constructor(operation: string) {
    super(
      'E_FROZEN_RANDOM',
      `${operation} was called while a compiled step was being recorded; its numbers would be the same in every run. ` +
        'Draw them before the step and pass the tensor in.',
    );
  }
}

/**
 * Standard normal numbers, [B, ...shape], float32.
 * @throws FrozenRandomError inside a compiled step that is being recorded
 */
export function randomNormalBatch(batch: RandomBatch, shape: readonly number[]): tf.Tensor {
  return fillRows(
    'randomNormalBatch',
    batch,
    shape,
    new Float32Array(batch.indices.length * tf.util.sizeFromShape(shape as number[])),
    fillNormal,
  );
}

/**
 * Numbers uniform in [0, 1), [B, ...shape], float32.
 * @throws FrozenRandomError inside a compiled step that is being recorded
 */
export function randomUniformBatch(batch: RandomBatch, shape: readonly number[]): tf.Tensor {
  return fillRows(
    'randomUniformBatch',
    batch,
    shape,
    new Float32Array(batch.indices.length * tf.util.sizeFromShape(shape as number[])),
    fillUniform,
  );
}

/**
 * Integers uniform in [0, below), [B, ...shape], int32.
 *
 * @param below integer in [1, 2^31]
 * @throws FrozenRandomError inside a compiled step that is being recorded
 */
export function randomIntegersBatch(batch: RandomBatch, shape: readonly number[], below: number): tf.Tensor {
  const values = new Int32Array(batch.indices.length * tf.util.sizeFromShape(shape as number[]));
  return fillRows('randomIntegersBatch', batch, shape, values, (row, key, index) => fillIntegers(row, key, index, below));
}

function fillRows<A extends Float32Array | Int32Array>(
  operation: string,
  { indices, ...key }: RandomBatch,
  shape: readonly number[],
  values: A,
  fill: (row: A, key: PhiloxKey, index: number) => void,
): tf.Tensor {
  if (tensorFlowBackend()?.recording) throw new FrozenRandomError(operation);
  const philox = philoxKey(key);
  const length = values.length / Math.max(1, indices.length);
  for (let b = 0; b < indices.length; b++) fill(values.subarray(b * length, (b + 1) * length) as A, philox, indices[b]!);
  return tf.tensor(values, [indices.length, ...shape]);
}
