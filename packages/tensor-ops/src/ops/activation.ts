/** Activations with one gradient each. */
import * as tf from '@tensorflow/tfjs-core';
import { tensorFlowBackend } from '../tensorflow-backend.js';
import { after } from './after.js';
import { matMul, type Precision, stack, toF32, toProductType, unstack, usesBf16 } from './raw-math.js';

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
 * Gate and up projection are two matrices one after the other, not one of double width: the halves of a product would have to be copied
 * apart, and products with rows of twice the length were slower (112 against 139 GFLOP/s per core at `[256, 384]` times `[384, 3072]`).
 *
 * @param x `[N, D]`
 * @param gateUp `[2, D, H]`: gate projection, then up projection
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
  const both = (w: tf.Tensor): [tf.Tensor, tf.Tensor] =>
    (backend !== undefined ? unstack(backend, w) : tf.unstack(w)) as [tf.Tensor, tf.Tensor];
  return tf.customGrad((input, w1, w2, save) => {
    const [xs, ws1, ws2] = [rounded(input as tf.Tensor), rounded(w1 as tf.Tensor), rounded(w2 as tf.Tensor)];
    const [gate, up] = both(ws1).map((w) => product(xs, w)) as [tf.Tensor, tf.Tensor];
    (save as tf.GradSaveFunc)([xs, ws1, ws2, gate, up]);
    const value = product(rounded(tf.mul(tf.mul(gate, tf.sigmoid(gate)), up)), ws2);
    const gradFunc = (dy: tf.Tensor, saved: tf.Tensor[]) => {
      const [sx, sw1, sw2, g, u] = saved as [tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor];
      const d = rounded(dy);
      const { activation, dGate, dUp } = swigluBackward(after(g, dy), after(u, dy), product(d, sw2, false, true));
      const [wGate, wUp] = both(sw1);
      const [dg, du] = [rounded(dGate), rounded(dUp)];
      const parts = [product(sx, dg, true), product(sx, du, true)];
      return [
        tf.add(product(dg, wGate, false, true), product(du, wUp, false, true)),
        backend !== undefined ? stack(backend, parts) : tf.stack(parts),
        product(rounded(activation), d, true),
      ];
    };
    return { value, gradFunc };
  })(x, gateUp, down);
}

/** The activation of SwiGLU again, and its gradients with respect to the pre-activations. */
function swigluBackward(gate: tf.Tensor, up: tf.Tensor, dActivation: tf.Tensor): Record<'activation' | 'dGate' | 'dUp', tf.Tensor> {
  const s = tf.sigmoid(gate);
  const gated = tf.mul(gate, s);
  // d silu(g) = s + g s (1 - s) = s + gs - gs s
  const dGate = tf.mul(tf.mul(dActivation, up), tf.add(s, tf.sub(gated, tf.mul(gated, s))));
  return { activation: tf.mul(gated, up), dGate, dUp: tf.mul(dActivation, gated) };
}
