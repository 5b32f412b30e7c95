/** Runs in a browser: every case of the ops on both backends. */
import '@tensorflow/tfjs-backend-webgpu';
import * as tf from '@tensorflow/tfjs';
import { numbers } from '../../../testing/fill.js';
import { opCases as cases, evaluateCaseAsync as evaluateAsync } from '../src/conformance/index.js';

/** Largest differences to the cpu backend, by case. */
export type Differences = Record<string, { output: number; gradients: number }>;

const difference = (a: Float32Array, b: Float32Array): number =>
  a.reduce((worst, x, i) => Math.max(worst, Math.abs(x - b[i])), a.length === b.length ? 0 : Number.MAX_VALUE);

export async function main(): Promise<Differences> {
  const differences: Differences = {};
  for (const [name, c] of Object.entries(cases)) {
    const inputs = c.shapes.map((shape, i) => numbers(shape, i));
    const on = async (backend: string) => {
      if (!(await tf.setBackend(backend))) throw new Error(`no backend ${backend}`);
      return evaluateAsync(c, inputs);
    };
    const [expected, actual] = [await on('cpu'), await on('webgpu')];
    differences[name] = {
      output: difference(actual.output, expected.output),
      gradients: Math.max(...actual.grads.map((grad, i) => difference(grad, expected.grads[i]))),
    };
  }
  return differences;
}
