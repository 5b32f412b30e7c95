/**
 * Affine map on the last axis.
 *
 * One 2-D product whatever the rank of `x`; tfjs' own gradient of a broadcast matMul throws. In bf16 the input is
 * rounded once and kept for the backward pass, a weight that is stored otherwise is rounded before each product; products are accumulated in
 * float32.
 */
import * as tf from '@tensorflow/tfjs-core';
import { ShapeError } from '../errors.js';
import { tensorFlowBackend } from '../tensorflow-backend.js';
import { customGradient } from './custom-gradient.js';
import { int8Product, quantizeRows, withoutGradient } from './int8.js';
import { matMul, type Precision, toF32, toProductType, usesBf16 } from './raw-math.js';

/** Bias, activation and precision of a linear layer. */
export interface LinearOptions {
  /** Precision of the products (default `f32`). */
  precision?: Precision;
  /** Of a `w` in int8: what its output channels are multiplied by, `[out]`. There is no gradient then. */
  scale?: tf.Tensor | undefined;
}

/**
 * `x w + b`.
 *
 * @param x `[..., in]`
 * @param w `[in, out]`; may be a raw bfloat16 tensor; its gradient is float32 all the same. With `scale` integers, see `int8Tensor`
 * @param b `[out]`
 * @returns `[..., out]`, float32
 * @throws ShapeError if the inner dimensions differ
 */
export function linear(x: tf.Tensor, w: tf.Tensor, b?: tf.Tensor, options: LinearOptions = {}): tf.Tensor {
  const [inputs, outputs] = w.shape as [number, number];
  if (w.rank !== 2 || x.shape.at(-1) !== inputs) throw new ShapeError('linear', `x [..., ${inputs}] for w [${w.shape}]`, x.shape);
  const flat = x.rank === 2 ? x : tf.reshape(x, [-1, inputs]);
  const { precision, scale } = options;
  const y =
    scale !== undefined
      ? inInt8(flat, w, scale, b)
      : tensorFlowBackend() === undefined
        ? portable(flat, w, b)
        : native(flat, w, b, precision);
  return x.rank === 2 ? y : tf.reshape(y, [...x.shape.slice(0, -1), outputs]);
}

const inInt8 = (x: tf.Tensor, w: tf.Tensor, scale: tf.Tensor, b: tf.Tensor | undefined): tf.Tensor =>
  withoutGradient(x, (x) => {
    const product = int8Product(quantizeRows(x), w, scale);
    return b === undefined ? product : tf.add(product, b);
  });

function native(x: tf.Tensor, w: tf.Tensor, b: tf.Tensor | undefined, precision: Precision | undefined): tf.Tensor {
  const backend = tensorFlowBackend()!;
  const low = usesBf16(backend, w, precision);
  const round = (a: tf.Tensor, before?: tf.Tensor): tf.Tensor => toProductType(backend, a, low, before);
  return customGradient(
    [x, w, b],
    (inputs) => {
      const [x, w] = [round(inputs[0]), inputs[1]];
      const product = toF32(backend, matMul(backend, x, round(w, x)));
      return { value: b === undefined ? product : backend.raw('BiasAdd', [product, b])[0], saved: [x, w] };
    },
    (dy, [x, w]) => {
      const d = round(dy);
      return [
        toF32(backend, matMul(backend, d, round(w, dy), false, true)),
        toF32(backend, matMul(backend, x, d, true)),
        b && backend.raw('BiasAddGrad', [dy])[0],
      ];
    },
  );
}

function portable(x: tf.Tensor, w: tf.Tensor, b: tf.Tensor | undefined): tf.Tensor {
  return customGradient(
    [x as tf.Tensor2D, w as tf.Tensor2D, b],
    ([x, w, b]) => {
      const product = tf.matMul(x, w);
      return { value: b === undefined ? product : tf.add(product, b), saved: [x, w] };
    },
    // Transposes are explicit because the wasm backend's product with a transposed operand is 10 to 50 times slower.
    (dy, [x, w]) => [tf.matMul(dy as tf.Tensor2D, tf.transpose(w)), tf.matMul(tf.transpose(x), dy as tf.Tensor2D), b && tf.sum(dy, 0)],
  );
}
