/** Functions with a gradient written by hand, with types where `tf.customGrad` has none. */
import * as tf from '@tensorflow/tfjs-core';

/** Tensors, some of which may be left out. */
type Tensors = readonly (tf.Tensor | undefined)[];

/** What a forward pass gives. */
export interface ForwardPass<S extends Tensors> {
  /** The differentiable result. */
  value: tf.Tensor;
  /** What the gradient needs of it; everything else is freed. */
  saved: S;
}

/** The gradient of each input that is there, from that of the value and what was saved. */
export type Gradient<I extends Tensors, S extends Tensors> = (dy: tf.Tensor, saved: S) => { [K in keyof I]: tf.Tensor | undefined };

/**
 * A function whose gradient is written by hand. Both run off the gradient tape.
 *
 * @param inputs differentiable tensors; `undefined` stands for one that is left out, which gets no gradient
 * @param forward gets the inputs; what it closes over gets no gradient
 * @param gradient may use no tensors but its arguments: others of the forward pass are freed
 * @returns the value
 */
export function customGradient<const I extends Tensors, const S extends Tensors>(
  inputs: I,
  forward: (inputs: I) => ForwardPass<S>,
  gradient: Gradient<I, S>,
): tf.Tensor {
  const run = (...args: (tf.Tensor | tf.GradSaveFunc)[]) => {
    const { value, saved } = forward(inputs);
    (args.at(-1) as tf.GradSaveFunc)(present(saved));
    return { value, gradFunc: (dy: tf.Tensor, kept: tf.Tensor[]) => present(gradient(dy, refilled(saved, kept))) };
  };
  return tf.customGrad(run)(...present(inputs));
}

/**
 * {@link customGradient} of a function with further results, which carry no gradient.
 *
 * @returns the value, and copies of the tensors in `extra`, which belong to the caller
 */
export function customGradientWithExtra<const I extends Tensors, const S extends Tensors>(
  inputs: I,
  forward: (inputs: I) => ForwardPass<S> & { extra: readonly tf.Tensor[] },
  gradient: Gradient<I, S>,
): { value: tf.Tensor; extra: tf.Tensor[] } {
  let kept: tf.Tensor[] = [];
  const run = (given: I): ForwardPass<S> => {
    const { extra, ...pass } = forward(given);
    // tfjs frees what a custom gradient does not return as its value.
    kept = extra.map((tensor) => tf.keep(tf.clone(tensor)));
    return pass;
  };
  const value = customGradient(inputs, run, gradient);
  const extra = kept.map((tensor) => tf.clone(tensor));
  tf.dispose(kept);
  return { value, extra };
}

const present = (tensors: Tensors): tf.Tensor[] => tensors.filter((tensor) => tensor !== undefined);

/** The tensors in the places of those that are there. */
function refilled<S extends Tensors>(places: S, tensors: readonly tf.Tensor[]): S {
  const rest = tensors.values();
  return places.map((place) => (place === undefined ? undefined : rest.next().value)) as unknown as S;
}
