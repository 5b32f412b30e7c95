/**
 * Recomputation of activations (Chen et al. 2016, "gradient checkpointing"): the backward pass computes a block again instead of keeping
 * what its gradients need, so that memory grows with the blocks' inputs only.
 */
import type { Routing } from '@dit-moe/moe';
import { after, customGradientWithExtra, scoped } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import type { Block, BlockOutput } from './block.js';

/** `block`, computed again when its gradient is asked for; it shows nothing of its inside, and what `context.moe` holds gets no gradient. */
export const recomputedBlock =
  (block: Block): Block =>
  (w, x, context) => {
    const own = Object.entries(w.all());
    const { rotation, sample, config } = context;
    // Only where a router sees it: an input more costs a gradient of zeros.
    const time = config.moe?.routerInput?.endsWith('time') ? [sample.time] : [];
    let shape: BlockOutput | undefined;
    const run = ([x, condition, ...rest]: readonly tf.Tensor[]): Recomputed => {
      const tables = rotation && { cos: rest[own.length], sin: rest[own.length + 1] };
      const told = time.length === 0 ? sample : { ...sample, time: rest.at(-1)! };
      const inside = scoped(Object.fromEntries(own.map(([name], i) => [name, rest[i]])));
      shape = block(inside, x, { ...context, condition, rotation: tables, sample: told });
      const { output, losses, routing } = shape;
      return { values: [output, ...Object.values(losses)], extra: routing.flatMap((plan) => tensorsOf(plan).map(([, tensor]) => tensor)) };
    };
    const tables = rotation === undefined ? [] : [rotation.cos, rotation.sin];
    const { values, extra } = recomputed(run, [x, context.condition, ...own.map(([, weight]) => weight), ...tables, ...time]);
    const { losses, routing } = shape!;
    return {
      output: values[0],
      losses: Object.fromEntries(Object.keys(losses).map((name, i) => [name, values[i + 1] as tf.Scalar])),
      routing: routing.map((plan) => ({ ...plan, ...Object.fromEntries(tensorsOf(plan).map(([name]) => [name, extra.shift()!])) })),
      inside: {},
    };
  };

const tensorsOf = (routing: Routing): [string, tf.Tensor][] =>
  Object.entries(routing).filter((entry): entry is [string, tf.Tensor] => entry[1] instanceof tf.Tensor);

/** What a recomputed function gives. */
interface Recomputed {
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
function recomputed(run: (inputs: readonly tf.Tensor[]) => Recomputed, inputs: readonly tf.Tensor[]): Recomputed {
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
