/** Activations with one gradient each. */
import * as tf from '@tensorflow/tfjs-core';
import { tensorFlowBackend } from '../tensorflow-backend.js';
import { after } from './after.js';
import { concat, matMul, type Precision, toF32, toProductType, usesBf16 } from './raw-math.js';

/** `x * sigmoid(x)` (swish with beta 1). */
export function silu(x: tf.Tensor): tf.Tensor {
  return tf.customGrad((input, save) => {
    const a = input as tf.Tensor;
    (save as tf.GradSaveFunc)([a]);
    const gradFunc = (dy: tf.Tensor, saved: tf.Tensor[]) => {
      const s = tf.sigmoid(saved[0]!);
      return tf.mul(dy, tf.mul(s, tf.add(1, tf.mul(saved[0]!, tf.sub(1, s)))));
    };
    return { value: tf.mul(a, tf.sigmoid(a)), gradFunc };
  })(x);
}

const TANH_SCALE = Math.sqrt(2 / Math.PI);
const TANH_CUBIC = 0.044715;

/**
 * Gaussian error linear unit (Hendrycks and Gimpel 2016).
 *
 * @param approximate `tanh` (default, as DiT's blocks) or `none` for the exact erf form
 */
export function gelu(x: tf.Tensor, approximate: 'tanh' | 'none' = 'tanh'): tf.Tensor {
  const gate = (a: tf.Tensor): tf.Tensor =>
    approximate === 'tanh'
      ? tf.mul(0.5, tf.add(1, tf.tanh(tf.mul(TANH_SCALE, tf.add(a, tf.mul(TANH_CUBIC, tf.mul(a, tf.square(a))))))))
      : tf.mul(0.5, tf.add(1, tf.erf(tf.mul(a, Math.SQRT1_2))));
  // Derivative of the gate: with t = 2 gate - 1 (tanh) it is 0.5 (1 - t^2) u'; exact, it is the normal density.
  const gateDerivative = (a: tf.Tensor, g: tf.Tensor): tf.Tensor =>
    approximate === 'tanh'
      ? tf.mul(tf.mul(2, tf.mul(g, tf.sub(1, g))), tf.mul(TANH_SCALE, tf.add(1, tf.mul(3 * TANH_CUBIC, tf.square(a)))))
      : tf.mul(1 / Math.sqrt(2 * Math.PI), tf.exp(tf.mul(-0.5, tf.square(a))));
  return tf.customGrad((input, save) => {
    const a = input as tf.Tensor;
    (save as tf.GradSaveFunc)([a]);
    const gradFunc = (dy: tf.Tensor, saved: tf.Tensor[]) => {
      const s = after(saved[0]!, dy);
      const g = gate(s);
      return tf.mul(dy, tf.add(g, tf.mul(s, gateDerivative(s, g))));
    };
    return { value: tf.mul(a, gate(a)), gradFunc };
  })(x);
}

/**
 * SwiGLU feed-forward layer without biases (Shazeer 2020): `(silu(x Wg) * (x Wu)) Wd`. Keeps `x` and the pre-activations; the
 * activation itself is recomputed in the backward pass.
 *
 * @param x `[N, D]`
 * @param gateUp `[D, 2H]`: gate half first, then the up half
 * @param down `[H, D]`
 * @returns `[N, D]`
 */
export function swiglu(x: tf.Tensor, gateUp: tf.Tensor, down: tf.Tensor, options: { precision?: Precision } = {}): tf.Tensor {
  const backend = tensorFlowBackend();
  const low = backend !== undefined && usesBf16(backend, gateUp, options.precision);
  const product = (a: tf.Tensor, b: tf.Tensor, transposeA = false, transposeB = false): tf.Tensor => {
    if (backend !== undefined) return toF32(backend, matMul(backend, a, b, transposeA, transposeB));
    return tf.matMul((transposeA ? tf.transpose(a) : a) as tf.Tensor2D, (transposeB ? tf.transpose(b) : b) as tf.Tensor2D);
  };
  const rounded = (a: tf.Tensor): tf.Tensor => (backend === undefined ? a : toProductType(backend, a, low));
  const halves = (h: tf.Tensor): [tf.Tensor, tf.Tensor] =>
    backend !== undefined
      ? (backend.raw('Split', [tf.scalar(1, 'int32'), h], { num_split: { int: 2 } }, 2) as [tf.Tensor, tf.Tensor])
      : (tf.split(h, 2, 1) as [tf.Tensor, tf.Tensor]);
  return tf.customGrad((input, w1, w2, save) => {
    const [xs, ws1, ws2] = [rounded(input as tf.Tensor), rounded(w1 as tf.Tensor), rounded(w2 as tf.Tensor)];
    const hidden = product(xs, ws1);
    (save as tf.GradSaveFunc)([xs, ws1, ws2, hidden]);
    const [g, u] = halves(hidden);
    const value = product(rounded(tf.mul(tf.mul(g, tf.sigmoid(g)), u)), ws2);
    const gradFunc = (dy: tf.Tensor, saved: tf.Tensor[]) => {
      const [sx, sw1, sw2, h] = saved as [tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor];
      const { activation, dHidden } = swigluBackward(halves(after(h, dy)), (a) => product(rounded(dy), a, false, true), sw2);
      const dHiddenRounded = rounded(dHidden);
      return [
        product(dHiddenRounded, sw1, false, true),
        product(sx, dHiddenRounded, true),
        product(rounded(activation), rounded(dy), true),
      ];
    };
    return { value, gradFunc };
  })(x, gateUp, down);

  function swigluBackward([g, u]: [tf.Tensor, tf.Tensor], toActivation: (w: tf.Tensor) => tf.Tensor, w2: tf.Tensor) {
    const dActivation = toActivation(w2);
    const s = tf.sigmoid(g);
    const gs = tf.mul(g, s);
    const dUp = tf.mul(dActivation, gs);
    // d silu(g) = s + g s (1 - s) = s + gs - gs s
    const dGate = tf.mul(tf.mul(dActivation, u), tf.add(s, tf.sub(gs, tf.mul(gs, s))));
    const dHidden = backend !== undefined ? concat(backend, [dGate, dUp], 1) : tf.concat([dGate, dUp], 1);
    return { activation: tf.mul(gs, u), dHidden };
  }
}
