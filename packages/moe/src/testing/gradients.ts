/** Gradients by central differences, for tests. */
import * as tf from '@tensorflow/tfjs-core';
import { expect } from 'vitest';
import { fill } from '../../../../testing/fill.js';

/**
 * Expects the gradients of `sum(f(...inputs) * fixed values)` to equal central differences, in a few entries of every input.
 *
 * Differences over 2e-2 of float32 sums: rounding and the cubic term are each below 1e-3 of the largest entry for smooth functions of such
 * inputs; what `f` chooses must not change over the step.
 */
export function expectGradients(f: (...inputs: tf.Tensor[]) => tf.Tensor, inputs: readonly tf.Tensor[], tolerance = 2e-3): void {
  tf.tidy(() => {
    const loss = (...xs: tf.Tensor[]): tf.Scalar => {
      const y = f(...xs);
      return tf.sum(tf.mul(y, fill(y.shape, 42)));
    };
    const gradients = tf.grads(loss)([...inputs]);
    gradients.forEach((gradient, input) => {
      const numbers = inputs[input].dataSync() as Float32Array;
      const found = gradient.dataSync() as Float32Array;
      const scale = found.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
      expect(scale, `input ${input} has a gradient`).toBeGreaterThan(0);
      const at = (entry: number, delta: number) => {
        const moved = Float32Array.from(numbers);
        moved[entry] += delta;
        const xs = inputs.map((x, i) => (i === input ? tf.tensor(moved, x.shape) : x));
        return loss(...xs).dataSync()[0];
      };
      for (let entry = 0; entry < numbers.length; entry += Math.ceil(numbers.length / 12)) {
        const wanted = (at(entry, 1e-2) - at(entry, -1e-2)) / 2e-2;
        expect(Math.abs(found[entry] - wanted) / Math.max(scale, 0.1), `input ${input}, entry ${entry}`).toBeLessThan(tolerance);
      }
    });
  });
}
