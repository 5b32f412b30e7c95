import * as tf from '@tensorflow/tfjs-core';
import { initialWeight, type WeightSpec } from './weight-spec.js';

/**
 * Weights made from specs as variables, which tfjs' own optimizers find; for our optimizers and compiled steps make a `ParameterSet`.
 *
 * @param seed equal seeds give equal weights on every backend (default 0)
 * @returns a variable for each spec; the caller disposes them
 * @throws ArgumentError if the seed is not an integer in [0, 2^53)
 */
export function createVariables(specs: Readonly<Record<string, WeightSpec>>, seed = 0): Record<string, tf.Variable> {
  const variables: Record<string, tf.Variable> = {};
  for (const [name, spec] of Object.entries(specs))
    variables[name] = tf.tidy(() => tf.variable(tf.tensor(initialWeight(name, spec, seed), spec.shape)));
  return variables;
}
