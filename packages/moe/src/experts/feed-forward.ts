/** Stacked feed-forward experts on rows that are laid out by expert: forward and backward, off the gradient tape. */
import { after, ShapeError } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import type { Grouping } from '../dispatch/grouping.js';
import type { DispatchMath } from '../dispatch/math.js';

/** SwiGLU experts of hidden width `H`: `(silu(x Wg) * (x Wu)) Wd`. */
export interface SwigluExperts {
  kind?: 'swiglu';
  /** `[E, D, 2H]`: gate half, then up half. */
  gateUp: tf.Tensor;
  /** `[E, 2H]` */
  gateUpBias?: tf.Tensor;
  /** `[E, H, D]` */
  down: tf.Tensor;
  /** `[E, D]` */
  downBias?: tf.Tensor;
}

/** GELU experts (tanh form, as DiT's blocks) of hidden width `H`. */
export interface GeluExperts {
  kind: 'gelu';
  /** `[E, D, H]` */
  up: tf.Tensor;
  /** `[E, H]` */
  upBias?: tf.Tensor;
  /** `[E, H, D]` */
  down: tf.Tensor;
  /** `[E, D]` */
  downBias?: tf.Tensor;
}

/** Stacked weights of equal experts. */
export type FeedForwardExperts = SwigluExperts | GeluExperts;

/** The weights of either kind under common names, in the order of their gradients. */
export interface ExpertTensors {
  up: tf.Tensor;
  down: tf.Tensor;
  upBias?: tf.Tensor;
  downBias?: tf.Tensor;
}

/** @throws ShapeError if the shapes do not fit each other or the width */
export function expertTensors(experts: FeedForwardExperts, width: number): ExpertTensors {
  const up = experts.kind === 'gelu' ? experts.up : experts.gateUp;
  const upBias = experts.kind === 'gelu' ? experts.upBias : experts.gateUpBias;
  const { down, downBias } = experts;
  const [numExperts, inputs, columns] = up.shape as [number, number, number];
  const hidden = experts.kind === 'gelu' ? columns : columns / 2;
  const [name, times] = experts.kind === 'gelu' ? ['up', ''] : ['gateUp', '2'];
  const check = (tensor: tf.Tensor | undefined, shape: number[], expected: string) => {
    if (tensor !== undefined && tensor.shape.join() !== shape.join()) throw new ShapeError('experts', expected, tensor.shape);
  };
  if (inputs !== width) throw new ShapeError('experts', `${name} [E, ${width}, ${times}H]`, up.shape);
  check(down, [numExperts, hidden, width], `down [${numExperts}, ${hidden}, ${width}] for ${name} [${up.shape}]`);
  check(upBias, [numExperts, columns], `${name}Bias [${numExperts}, ${columns}]`);
  check(downBias, [numExperts, width], `downBias [${numExperts}, ${width}]`);
  return { up, down, ...(upBias && { upBias }), ...(downBias && { downBias }) };
}

/** An activation between the two products. */
interface Activation {
  forward(hidden: tf.Tensor): tf.Tensor;
  /** The activation again (recomputing it is cheaper than keeping it) and how a gradient goes through it. */
  backward(hidden: tf.Tensor): { value: tf.Tensor; gradient(dValue: tf.Tensor): tf.Tensor };
}

const swiglu = (math: DispatchMath): Activation => ({
  forward(hidden) {
    const [gate, up] = math.halves(hidden);
    return tf.mul(tf.mul(gate, tf.sigmoid(gate)), up);
  },
  backward(hidden) {
    const [gate, up] = math.halves(hidden);
    const s = tf.sigmoid(gate);
    const gated = tf.mul(gate, s);
    // d silu(g) = s + g s (1 - s) = s + gs - gs s
    const gradient = (d: tf.Tensor) =>
      math.joinColumns(tf.mul(tf.mul(d, up), tf.add(s, tf.sub(gated, tf.mul(gated, s)))), tf.mul(d, gated));
    return { value: tf.mul(gated, up), gradient };
  },
});

const SCALE = Math.sqrt(2 / Math.PI);
const CUBIC = 0.044715;
/** `x * g` with `g = (1 + tanh(u)) / 2 = sigmoid(2 u)`, `u = SCALE (x + CUBIC x^3)`. */
const gelu: Activation = {
  forward: (x) => tf.mul(x, geluGate(x)),
  backward(x) {
    const g = geluGate(x);
    const slope = tf.mul(2 * SCALE, tf.add(1, tf.mul(3 * CUBIC, tf.square(x))));
    const gradient = (d: tf.Tensor) => tf.mul(d, tf.add(g, tf.mul(tf.mul(x, tf.mul(g, tf.sub(1, g))), slope)));
    return { value: tf.mul(x, g), gradient };
  },
};
const geluGate = (x: tf.Tensor): tf.Tensor => tf.sigmoid(tf.mul(2 * SCALE, tf.add(x, tf.mul(CUBIC, tf.mul(x, tf.square(x))))));

/** Results of the experts and what the way back needs. */
export interface ExpertPass {
  /** Parts of the rows' results in order, each `[., D]`. */
  outputs: tf.Tensor[];
  hidden: tf.Tensor[];
}

export interface ExpertRunner {
  /**
   * @param rows rounded, `[R, D]`
   * @param weights matrices rounded
   */
  forward(rows: tf.Tensor, weights: ExpertTensors): ExpertPass;
  /**
   * @param dOutput gradient of the results, float32 `[R, D]`
   * @returns parts of the gradient of `rows`, and that of the weights
   */
  backward(
    dOutput: tf.Tensor,
    rows: tf.Tensor,
    hidden: readonly tf.Tensor[],
    weights: ExpertTensors,
  ): { dRows: tf.Tensor[]; grads: ExpertTensors };
}

/** Runs experts on the rows of a grouping. */
export function expertRunner(
  kind: FeedForwardExperts['kind'],
  math: DispatchMath,
  { layout, counts }: Pick<Grouping, 'layout' | 'counts'>,
  numExperts: number,
): ExpertRunner {
  const activation = kind === 'gelu' ? gelu : swiglu(math);
  return layout === 'batch' ? batchRunner(activation, math, numExperts) : sliceRunner(activation, math, counts, numExperts);
}

/** All experts in one batched product. */
function batchRunner(activation: Activation, math: DispatchMath, numExperts: number): ExpertRunner {
  const perExpert = (x: tf.Tensor): tf.Tensor => math.reshape(x, [numExperts, -1, x.shape.at(-1)!]);
  const flat = (x: tf.Tensor): tf.Tensor => math.reshape(x, [-1, x.shape.at(-1)!]);
  const biased = (x: tf.Tensor, bias: tf.Tensor | undefined) => (bias === undefined ? x : tf.add(x, tf.expandDims(bias, 1)));
  return {
    forward(rows, { up, down, upBias, downBias }) {
      const hidden = biased(math.product(perExpert(rows), up), upBias);
      const output = biased(math.product(math.round(activation.forward(hidden)), down), downBias);
      return { outputs: [flat(output)], hidden: [hidden] };
    },
    backward(dOutput, rows, [hidden], { up, down, upBias, downBias }) {
      const dFlat = perExpert(dOutput);
      const d = math.round(dFlat);
      const { value, gradient } = activation.backward(after(hidden!, dOutput));
      const dHidden = gradient(math.product(d, down, false, true));
      const dRounded = math.round(dHidden);
      return {
        dRows: [flat(math.product(dRounded, up, false, true))],
        grads: {
          up: math.product(perExpert(rows), dRounded, true),
          down: math.product(math.round(value), d, true),
          ...(upBias && { upBias: tf.sum(dHidden, 1) }),
          ...(downBias && { downBias: tf.sum(dFlat, 1) }),
        },
      };
    },
  };
}

/** Each expert multiplies its slice; weight gradients are stacked once, where a tape would pad every slice to the full size. */
function sliceRunner(activation: Activation, math: DispatchMath, counts: tf.Tensor, numExperts: number): ExpertRunner {
  const sizes = math.sliceSizes(counts);
  const biasOf = (bias: tf.Tensor | undefined) => (bias === undefined ? undefined : math.unstack(bias));
  const biased = (x: tf.Tensor, bias: tf.Tensor | undefined) => (bias === undefined ? x : tf.add(x, bias));
  /** One entry for each expert; those without tokens get zeros. */
  const stacked = (parts: readonly tf.Tensor[], like: tf.Tensor): tf.Tensor => {
    if (parts.length === 0) return tf.zeros(like.shape);
    const byExpert = new Map(sizes.experts.map((expert, i) => [expert, parts[i]!]));
    const nothing = parts.length < numExperts ? tf.zerosLike(parts[0]!) : undefined;
    return math.stack(Array.from({ length: numExperts }, (_, e) => byExpert.get(e) ?? nothing!));
  };
  return {
    forward(rows, { up, down, upBias, downBias }) {
      const [ups, downs, upBiases, downBiases] = [math.unstack(up), math.unstack(down), biasOf(upBias), biasOf(downBias)];
      const hidden: tf.Tensor[] = [];
      const outputs = math.split(rows, sizes).map((part, i) => {
        const e = sizes.experts[i]!;
        const h = biased(math.product(part, ups[e]!), upBiases?.[e]);
        hidden.push(h);
        return biased(math.product(math.round(activation.forward(h)), downs[e]!), downBiases?.[e]);
      });
      return { outputs, hidden };
    },
    backward(dOutput, rows, hidden, { up, down, upBias, downBias }) {
      const [ups, downs] = [math.unstack(up), math.unstack(down)];
      const parts = math.split(rows, sizes);
      const unrounded = downBias === undefined ? undefined : math.split(dOutput, sizes);
      const grads: Record<keyof ExpertTensors, tf.Tensor[]> = { up: [], down: [], upBias: [], downBias: [] };
      const dRows = math.split(math.round(dOutput), sizes).map((d, i) => {
        const e = sizes.experts[i]!;
        const { value, gradient } = activation.backward(after(hidden[i]!, dOutput));
        const dHidden = gradient(math.product(d, downs[e]!, false, true));
        const dRounded = math.round(dHidden);
        grads.down.push(math.product(math.round(value), d, true));
        grads.up.push(math.product(parts[i]!, dRounded, true));
        if (upBias !== undefined) grads.upBias.push(tf.sum(dHidden, 0));
        if (unrounded !== undefined) grads.downBias.push(tf.sum(unrounded[i]!, 0));
        return math.product(dRounded, ups[e]!, false, true);
      });
      return {
        dRows,
        grads: {
          up: stacked(grads.up, up),
          down: stacked(grads.down, down),
          ...(upBias && { upBias: stacked(grads.upBias, upBias) }),
          ...(downBias && { downBias: stacked(grads.downBias, downBias) }),
        },
      };
    },
  };
}
