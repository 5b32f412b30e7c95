import * as tf from '@tensorflow/tfjs';
import { beforeAll, expect, test } from 'vitest';
import { customGradient, customGradientWithExtra } from './custom-gradient.js';

beforeAll(async () => void (await tf.setBackend('cpu')));

/** `a * b + c`, whose gradients are made ten times as large, so that they are known to be used. */
const product = (a: tf.Tensor, b: tf.Tensor | undefined, c?: tf.Tensor): tf.Tensor =>
  customGradient(
    [a, b, c],
    ([a, b, c]) => {
      const value = b === undefined ? tf.clone(a) : tf.mul(a, b);
      return { value: c === undefined ? value : tf.add(value, c), saved: [b, a] };
    },
    (dy, [b, a]) => [tf.mul(10, b === undefined ? dy : tf.mul(dy, b)), b && tf.mul(10, tf.mul(dy, a)), c && tf.mul(10, dy)],
  );

test('each input that is there gets its gradient, whichever is left out, and nothing else is kept', () => {
  const [a, b, c] = [2, 3, 5].map((value) => tf.scalar(value)) as [tf.Scalar, tf.Scalar, tf.Scalar];
  const before = tf.memory().numTensors;
  const gradients = (f: (...xs: tf.Tensor[]) => tf.Tensor, xs: tf.Tensor[]) =>
    tf.tidy(() => {
      const { value, grads } = tf.valueAndGrads((...inputs: tf.Tensor[]) => tf.sum(f(...inputs)))(xs);
      return [value, ...grads].map((x) => x.dataSync()[0]);
    });
  expect(gradients((x, y, z) => product(x, y, z), [a, b, c])).toEqual([11, 30, 20, 10]);
  expect(gradients((x, y) => product(x, y), [a, b])).toEqual([6, 30, 20]);
  expect(gradients((x, z) => product(x, undefined, z), [a, c])).toEqual([7, 10, 10]);
  expect(tf.memory().numTensors).toBe(before);
});

test('further results outlive the forward pass, on the tape and off it', () => {
  const x = tf.tensor1d([1, 2]);
  const before = tf.memory().numTensors;
  const run = (input: tf.Tensor) =>
    customGradientWithExtra(
      [input],
      ([input]) => ({ value: tf.square(input), saved: [input], extra: [tf.neg(input)] }),
      (dy, [input]) => [tf.mul(dy, tf.mul(2, input))],
    );
  tf.tidy(() => {
    expect(run(x).extra[0].arraySync()).toEqual([-1, -2]);
    let extra: number[] = [];
    const gradient = tf.grad((input: tf.Tensor) => {
      const result = run(input);
      extra = result.extra[0].arraySync() as number[];
      return tf.sum(result.value);
    })(x);
    expect([gradient.arraySync(), extra]).toEqual([
      [2, 4],
      [-1, -2],
    ]);
  });
  expect(tf.memory().numTensors).toBe(before);
});
