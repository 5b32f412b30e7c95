/** Activations with one gradient each. */
import * as tf from '@tensorflow/tfjs-core';
import { ShapeError } from '../errors.js';
import { tensorFlowBackend } from '../tensorflow-backend.js';
import { after } from './after.js';
import { customGradient } from './custom-gradient.js';
import { stackRows, unstackRows } from './dynamic-rows.js';
import { fused } from './fused.js';
import { int8Product, int8Sums, type QuantizedRows, quantizeRows, withoutGradient } from './int8.js';
import { castLike, products, widen } from './products.js';
import type { Precision } from './raw-math.js';
import { isRounded } from './rounded-maps.js';

/** `x * sigmoid(x)` (swish with beta 1). Of a raw bfloat16 `x` it is bfloat16, and made for steps compiled with `rewrite`. */
export function silu(x: tf.Tensor): tf.Tensor {
  if (isRounded(x)) {
    const backend = tensorFlowBackend()!;
    return backend.raw('Mul', [x, backend.raw('Sigmoid', [x])[0]])[0];
  }
  return customGradient(
    [x],
    ([x]) => ({ value: tf.mul(x, tf.sigmoid(x)), saved: [x] }),
    (dy, [x]) => {
      const s = tf.sigmoid(x);
      return [tf.mul(dy, tf.mul(s, tf.add(1, tf.mul(x, tf.sub(1, s)))))];
    },
  );
}

const TANH_SCALE = Math.sqrt(2 / Math.PI);
const TANH_CUBIC = 0.044715;
/** GELU is `x` times this. `(1 + tanh(u)) / 2 = sigmoid(2 u)`. */
const tanhGate = (x: tf.Tensor): tf.Tensor => tf.sigmoid(tf.mul(2 * TANH_SCALE, tf.add(x, tf.mul(TANH_CUBIC, tf.mul(x, tf.square(x))))));

/**
 * The tanh form of GELU (Hendrycks and Gimpel 2016) off the gradient tape; computed in float32. A chain for `fused`.
 *
 * @param x of any shape; on the TensorFlow runtime possibly a raw bfloat16 tensor
 * @returns one tensor of the shape and type of `x`
 */
export function geluActivation(x: tf.Tensor): tf.Tensor[] {
  const h = widen(x);
  return [castLike(tf.mul(h, tanhGate(h)), x)];
}

/**
 * {@link geluActivation} again, and its gradient.
 *
 * @param dActivation gradient of the activation, of the shape of `x`
 * @returns two tensors of the shape and type of `x`
 */
export function geluActivationGradients(x: tf.Tensor, dActivation: tf.Tensor): tf.Tensor[] {
  const [h, d] = [widen(x), widen(dActivation)];
  const g = tanhGate(h);
  // d (x g) = g + x g (1 - g) 2 u'
  const slope = tf.mul(2 * TANH_SCALE, tf.add(1, tf.mul(3 * TANH_CUBIC, tf.square(h))));
  const dInput = tf.mul(d, tf.add(g, tf.mul(tf.mul(h, tf.mul(g, tf.sub(1, g))), slope)));
  return [tf.mul(h, g), dInput].map((value) => castLike(value, x));
}

/** The exact form of GELU. */
const erfGelu = (x: tf.Tensor): tf.Tensor[] => [tf.mul(x, erfGate(x))];
const erfGeluGradients = (x: tf.Tensor, d: tf.Tensor): tf.Tensor[] => {
  const g = erfGate(x);
  const density = tf.mul(1 / Math.sqrt(2 * Math.PI), tf.exp(tf.mul(-0.5, tf.square(x))));
  return [tf.mul(x, g), tf.mul(d, tf.add(g, tf.mul(x, density)))];
};
const erfGate = (x: tf.Tensor): tf.Tensor => tf.mul(0.5, tf.add(1, tf.erf(tf.mul(x, Math.SQRT1_2))));

/**
 * Gaussian error linear unit (Hendrycks and Gimpel 2016).
 *
 * @param approximate `tanh` (default, as DiT's blocks) or `none` for the exact erf form
 */
export function gelu(x: tf.Tensor, approximate: 'tanh' | 'none' = 'tanh'): tf.Tensor {
  const [value, gradients] = approximate === 'tanh' ? [geluActivation, geluActivationGradients] : [erfGelu, erfGeluGradients];
  return customGradient(
    [x],
    ([x]) => ({ value: value(x)[0], saved: [x] }),
    (dy, [x]) => [gradients(after(x, dy), dy)[1]],
  );
}

/** How {@link swiglu} multiplies. */
export interface SwigluOptions {
  /** Precision of the products (default `f32`). */
  precision?: Precision;
  /** Of weights in int8, of both or of none: what their output channels are multiplied by, `[2, H]` and `[D]`. There is no gradient then. */
  scales?: { gateUp: tf.Tensor | undefined; down: tf.Tensor | undefined };
}

/**
 * SwiGLU feed-forward layer without biases (Shazeer 2020): `(silu(x Wg) * (x Wu)) Wd`. Keeps `x` and the pre-activations; the
 * activation itself is recomputed in the backward pass.
 *
 * Gate and up projection are two matrices one after the other, not one of double width: the halves of a product would have to be copied
 * apart, and products with rows of twice the length were slower (112 against 139 GFLOP/s per core at `[256, 384]` times `[384, 3072]`).
 *
 * @param x `[N, D]`
 * @param gateUp `[2, D, H]`: gate projection, then up projection
 * @param down `[H, D]`
 * @returns `[N, D]`
 * @throws ShapeError if one of the scales is missing
 */
export function swiglu(x: tf.Tensor, gateUp: tf.Tensor, down: tf.Tensor, options: SwigluOptions = {}): tf.Tensor {
  const { gateUp: upScale, down: downScale } = options.scales ?? {};
  if (upScale !== undefined && downScale !== undefined)
    return withoutGradient(x, (x) => {
      const rows = quantizeRows(x);
      return int8Product(int8Swiglu(rows, unstackRows(gateUp), unstackRows(upScale)), down, downScale);
    });
  if (upScale !== downScale) throw new ShapeError('swiglu', 'scales of both matrices or of none', 'one');
  const { round, product } = products(gateUp, options.precision);
  return customGradient(
    [x, gateUp, down],
    ([input, gateUp, down]) => {
      const x = round(input);
      const [gate, up] = unstackRows(gateUp).map((w) => product(x, round(w, x)));
      const [hidden] = fused(swigluActivation, [gate, up]);
      const value = widen(product(hidden, round(down, hidden)));
      return { value, saved: [x, gateUp, down, gate, up] };
    },
    (dy, [x, gateUp, down, gate, up]) => {
      const d = round(dy);
      const keptParts = [after(gate, dy), after(up, dy)];
      const [activation, dGate, dUp] = fused(swigluActivationGradients, [...keptParts, product(d, round(down, dy), false, true)]);
      const [wGate, wUp] = unstackRows(gateUp).map((w) => round(w, dGate));
      const parts = [product(x, dGate, true), product(x, dUp, true)];
      return [
        tf.add(widen(product(dGate, wGate, false, true)), widen(product(dUp, wUp, false, true))),
        widen(stackRows(parts)),
        widen(product(activation, d, true)),
      ];
    },
  );
}

/**
 * The activation of SwiGLU (Shazeer 2020), `silu(gate) * up`, off the gradient tape; computed in float32. A chain for `fused`.
 *
 * @param gate of any shape; on the TensorFlow runtime possibly a raw bfloat16 tensor
 * @param up as `gate`
 * @returns one tensor of the shape and type of `gate`
 */
export function swigluActivation(gate: tf.Tensor, up: tf.Tensor): tf.Tensor[] {
  const g = widen(gate);
  return [castLike(tf.mul(tf.mul(g, tf.sigmoid(g)), widen(up)), gate)];
}

/**
 * {@link swigluActivation} again, and its gradients with respect to `gate` and `up`.
 *
 * @param dActivation gradient of the activation, of the shape of `gate`
 * @returns three tensors of the shape and type of `gate`
 */
export function swigluActivationGradients(gate: tf.Tensor, up: tf.Tensor, dActivation: tf.Tensor): tf.Tensor[] {
  const [g, u, d] = [widen(gate), widen(up), widen(dActivation)];
  const s = tf.sigmoid(g);
  const gated = tf.mul(g, s);
  // d silu(g) = s + g s (1 - s) = s + gs - gs s
  const dGate = tf.mul(tf.mul(d, u), tf.add(s, tf.sub(gated, tf.mul(gated, s))));
  return [tf.mul(gated, u), dGate, tf.mul(d, gated)].map((x) => castLike(x, gate));
}

/**
 * {@link swigluActivation} of two products of the same rows, in int8 again. What a row is multiplied by does not change its integers, so the
 * second product is left without. Off the gradient tape.
 *
 * @param rows `[N, D]`
 * @param w integers of the gate and of the up projection, `[D, H]` each, see `int8Tensor`
 * @param scales of their output channels, `[H]` each
 * @returns `[N, H]`
 */
export function int8Swiglu(rows: QuantizedRows, [wGate, wUp]: readonly tf.Tensor[], [gate, up]: readonly tf.Tensor[]): QuantizedRows {
  const [activated] = swigluActivation(int8Product(rows, wGate, gate), int8Sums(rows.values, wUp, up));
  const { values, scale } = quantizeRows(activated);
  return { values, scale: tf.mul(scale, rows.scale) };
}
