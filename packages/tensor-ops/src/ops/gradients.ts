/** Values and gradients with respect to named tensors. */
import * as tf from '@tensorflow/tfjs-core';
import { DitMoeError } from '../errors.js';

/** A parameter does not influence the loss. */
export class NoGradientError extends DitMoeError {
  static override readonly code = 'E_NO_GRADIENT';
  constructor(names: readonly string[]) {
    super(`The loss does not depend on ${names.join(', ')}. Leave these tensors out, or set allowZeros to get zero gradients.`);
  }
}

/**
 * The value of `loss` and its gradients with respect to `weights`.
 *
 * @param loss scalar function of the weights in the record (it closes over them or their like); may put further tensors into `extra`
 * @param weights tensors by name
 * @param options `allowZeros`: give zeros for weights without influence instead of throwing
 * @returns the scalar `value`, `grads` by name, and the tensors that `loss` put into `extra`; the caller owns all of them
 * @throws NoGradientError naming the weights that the loss does not depend on
 */
export function valueAndGrads<E extends Record<string, tf.Tensor> = Record<string, never>>(
  loss: () => { loss: tf.Tensor; extra?: E },
  weights: Readonly<Record<string, tf.Tensor>>,
  options: { allowZeros?: boolean } = {},
): { value: tf.Scalar; grads: Record<string, tf.Tensor>; extra: E } {
  const names = Object.keys(weights);
  const tensors = names.map((name) => weights[name]);
  let extra = {} as E;
  const { value, grads } = tf.engine().gradients(
    () => {
      const result = loss();
      if (result.extra !== undefined) {
        // Kept beyond the scope of the forward pass, see below.
        extra = Object.fromEntries(Object.entries(result.extra).map(([name, tensor]) => [name, tf.keep(tf.clone(tensor))])) as E;
      }
      return result.loss as tf.Scalar;
    },
    tensors,
    undefined,
    true,
  );
  // Back into the caller's scope, so that its tf.tidy frees them.
  const kept = Object.values(extra);
  extra = Object.fromEntries(Object.entries(extra).map(([name, tensor]) => [name, tf.clone(tensor)])) as E;
  tf.dispose(kept);
  const missing = names.filter((_, i) => grads[i] === null || grads[i] === undefined);
  if (missing.length > 0 && options.allowZeros !== true) {
    tf.dispose([value, ...grads.filter((g) => g !== null)]);
    tf.dispose(Object.values(extra));
    throw new NoGradientError(missing);
  }
  return {
    value: value as tf.Scalar,
    grads: Object.fromEntries(names.map((name, i) => [name, grads[i] ?? tf.zerosLike(tensors[i])])),
    extra,
  };
}
