/** What a weight is before it has a value: shape, distribution of its first value, and whether bfloat16 is good enough for it. */
import * as tf from '@tensorflow/tfjs-core';
import { randomNormal, randomUniform } from './random/index.js';

/** Distribution of a weight's first value. */
export type InitialValue =
  | { kind: 'zeros' }
  | { kind: 'ones' }
  /** Normal with mean 0. */
  | { kind: 'normal'; std: number }
  /** Uniform in [-limit, limit). */
  | { kind: 'uniform'; limit: number };

/** A weight that does not exist yet. */
export interface WeightSpec {
  shape: number[];
  initial: InitialValue;
  /** Whether it is a matrix that may be kept in bfloat16 (default false: norms, biases, tables and routers stay float32). */
  matrix?: boolean;
}

/**
 * The first value of one weight on the host, flat. It depends on seed, purpose and name only, so weights can be made one at a time, in
 * any order and on any machine.
 *
 * @param seed integer in [0, 2^53)
 * @param purpose keeps the weights of two networks with equal names apart (default `weights`)
 * @throws ArgumentError if the seed is none
 */
export function initialWeight(name: string, { shape, initial }: WeightSpec, seed: number, purpose = 'weights'): Float32Array {
  const length = tf.util.sizeFromShape(shape);
  const stream = { seed, purpose: `${purpose}.${name}`, index: 0 };
  switch (initial.kind) {
    case 'zeros':
      return new Float32Array(length);
    case 'ones':
      return new Float32Array(length).fill(1);
    case 'normal':
      return randomNormal(stream, length).map((v) => v * initial.std);
    case 'uniform':
      return randomUniform(stream, length).map((v) => (2 * v - 1) * initial.limit);
  }
}
