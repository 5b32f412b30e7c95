/** The one piece of arithmetic of all solvers: sums of tensors with weights from the host. */
import { compile, tensorFlowBackend } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';

/** By backend: a compiled step lives as long as the runtime that it was recorded on. */
const compiled = new WeakMap<object, (weights: tf.Tensor, ...terms: tf.Tensor[]) => tf.Tensor>();

/**
 * `weights[0] terms[0] + weights[1] terms[1] + ...`; terms of weight 0 are left out.
 *
 * On the TensorFlow runtime one call of a compiled step: term by term, sending the weights alone would take longer.
 */
export function weightedSum(weights: readonly number[], terms: readonly tf.Tensor[]): tf.Tensor {
  const used = terms.filter((_, i) => weights[i] !== 0);
  const factors = weights.filter((weight) => weight !== 0);
  const backend = tensorFlowBackend();
  if (backend === undefined || backend.recording)
    return tf.tidy(() => used.map((term, i) => tf.mul(term, factors[i])).reduce((a, b) => tf.add(a, b)));
  let step = compiled.get(backend);
  if (step === undefined) {
    const sum = (all: tf.Tensor, ...own: tf.Tensor[]): tf.Tensor => {
      const each = tf.unstack(all);
      return own.map((term, i) => tf.mul(term, each[i])).reduce((a, b) => tf.add(a, b));
    };
    // Many signatures are nothing to warn of: they are those of the solver's history and the caller's batches.
    step = compile(sum, { name: 'weighted sum', onWarning: () => {} }).runSync;
    compiled.set(backend, step);
  }
  const vector = tf.tensor1d(factors);
  try {
    return step(vector, ...used);
  } finally {
    vector.dispose();
  }
}
