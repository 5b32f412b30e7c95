import * as tf from '@tensorflow/tfjs-core';
import { numbers } from '../packages/tensor-ops/src/conformance/numbers.js';

export { numbers };

/** {@link numbers} as a tensor. */
export const fill = (shape: readonly number[], salt: number): tf.Tensor => tf.tensor(numbers(shape, salt), [...shape]);
