/**
 * Recomputation of activations (Chen et al. 2016, "gradient checkpointing"): the backward pass computes a part of the model again
 * instead of keeping what its gradients need, so that memory grows with the part's inputs only.
 */
import { after, customGradientWithExtra } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';

/** What a recomputed function gives. */
export interface Recomputed {
  /** Differentiable results, float32. */
  values: tf.Tensor[];
  /** Further results, which carry no gradient. */
  extra: tf.Tensor[];
}

/**
 * `run(inputs)`, computed again when its gradient is asked for.
 *
 * @param run a pure function of its inputs: what it closes over gets no gradient
 * @param inputs every tensor that gradients are wanted for; the first must influence all that is costly
 */
export function recomputed(run: (inputs: readonly tf.Tensor[]) => Recomputed, inputs: readonly tf.Tensor[]): Recomputed {
  let shapes: number[][] = [];
  // A custom gradient has one value, so all results lie in one vector.
  const { value: packed, extra } = customGradientWithExtra(
    inputs,
    (inputs) => {
      const { values, extra } = run(inputs);
      shapes = values.map(({ shape }) => shape);
      return { value: pack(values), saved: inputs, extra };
    },
    (dy, inputs) => gradients(run, inputs, dy),
  );
  if (shapes.length === 1) return { values: [tf.reshape(packed, shapes[0])], extra };
  const sizes = shapes.map((shape) => tf.util.sizeFromShape(shape));
  return { values: tf.split(packed, sizes).map((part, i) => tf.reshape(part, shapes[i])), extra };
}

function pack(values: readonly tf.Tensor[]): tf.Tensor {
  return values.length === 1 ? tf.reshape(values[0], [-1]) : tf.concat(values.map((value) => tf.reshape(value, [-1])));
}

function gradients(run: (inputs: readonly tf.Tensor[]) => Recomputed, inputs: readonly tf.Tensor[], dy: tf.Tensor): tf.Tensor[] {
  const { state } = tf.engine();
  const outer = state.activeTape;
  try {
    const xs = [after(inputs[0], dy), ...inputs.slice(1)];
    const { grads } = tf.engine().gradients(() => pack(run(xs).values), xs, dy, true);
    return inputs.map((x, i) => grads[i] ?? tf.zerosLike(x));
  } finally {
    // The engine forgets the tape of the pass that we are part of.
    state.activeTape = outer;
  }
}
