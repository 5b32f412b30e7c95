/** Stacked feed-forward experts on rows that are laid out by expert: forward and backward, off the gradient tape. */
import { after, ShapeError } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import type { Grouping } from '../dispatch/grouping.js';
import type { DispatchMath } from '../dispatch/math.js';

/** SwiGLU experts of hidden width `H`: `(silu(x Wg) * (x Wu)) Wd`. */
export interface SwigluExperts {
  kind?: 'swiglu';
  /** `[E, 2, D, H]`: gate projection, then up projection. */
  gateUp: tf.Tensor;
  /** `[E, 2, H]` */
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

/**
 * The weights of either kind under common names, in the order of their gradients. `P` is the number of matrices before the activation: 2
 * for SwiGLU, 1 for GELU.
 */
export interface ExpertTensors {
  /** `[E, P, D, H]`, for GELU `[E, D, H]` */
  up: tf.Tensor;
  /** `[E, H, D]` */
  down: tf.Tensor;
  /** `[E, P, H]`, for GELU `[E, H]` */
  upBias?: tf.Tensor;
  /** `[E, D]` */
  downBias?: tf.Tensor;
}

/** @throws ShapeError if the shapes do not fit each other or the width */
export function expertTensors(experts: FeedForwardExperts, width: number): ExpertTensors {
  const up = experts.kind === 'gelu' ? experts.up : experts.gateUp;
  const upBias = experts.kind === 'gelu' ? experts.upBias : experts.gateUpBias;
  const { down, downBias } = experts;
  const [name, parts] = experts.kind === 'gelu' ? (['up', []] as const) : (['gateUp', [2]] as const);
  const check = (tensor: tf.Tensor | undefined, shape: number[], expected: string) => {
    if (tensor !== undefined && tensor.shape.join() !== shape.join()) throw new ShapeError('experts', expected, tensor.shape);
  };
  const [numExperts, hidden] = [up.shape[0]!, up.shape.at(-1)!];
  check(up, [numExperts, ...parts, width, hidden], `${name} [${['E', ...parts, width, 'H'].join(', ')}]`);
  check(down, [numExperts, hidden, width], `down [${numExperts}, ${hidden}, ${width}] for ${name} [${up.shape}]`);
  check(upBias, [numExperts, ...parts, hidden], `${name}Bias [${[numExperts, ...parts, hidden].join(', ')}]`);
  check(downBias, [numExperts, width], `downBias [${numExperts}, ${width}]`);
  return { up, down, ...(upBias && { upBias }), ...(downBias && { downBias }) };
}

/** An activation between the products. */
interface Activation {
  /** Products before it, whose results it takes. */
  parts: number;
  forward(hidden: readonly tf.Tensor[]): tf.Tensor;
  /** The activation again (recomputing it is cheaper than keeping it) and how a gradient goes through it to each part. */
  backward(hidden: readonly tf.Tensor[]): { value: tf.Tensor; gradient(dValue: tf.Tensor): tf.Tensor[] };
}

const swiglu: Activation = {
  parts: 2,
  forward: ([gate, up]) => tf.mul(tf.mul(gate!, tf.sigmoid(gate!)), up!),
  backward([gate, up]) {
    const s = tf.sigmoid(gate!);
    const gated = tf.mul(gate!, s);
    // d silu(g) = s + g s (1 - s) = s + gs - gs s
    const gradient = (d: tf.Tensor) => [tf.mul(tf.mul(d, up!), tf.add(s, tf.sub(gated, tf.mul(gated, s)))), tf.mul(d, gated)];
    return { value: tf.mul(gated, up!), gradient };
  },
};

const SCALE = Math.sqrt(2 / Math.PI);
const CUBIC = 0.044715;
/** `x * g` with `g = (1 + tanh(u)) / 2 = sigmoid(2 u)`, `u = SCALE (x + CUBIC x^3)`. */
const gelu: Activation = {
  parts: 1,
  forward: ([x]) => tf.mul(x!, geluGate(x!)),
  backward([x]) {
    const g = geluGate(x!);
    const slope = tf.mul(2 * SCALE, tf.add(1, tf.mul(3 * CUBIC, tf.square(x!))));
    const gradient = (d: tf.Tensor) => [tf.mul(d, tf.add(g, tf.mul(tf.mul(x!, tf.mul(g, tf.sub(1, g))), slope)))];
    return { value: tf.mul(x!, g), gradient };
  },
};
const geluGate = (x: tf.Tensor): tf.Tensor => tf.sigmoid(tf.mul(2 * SCALE, tf.add(x, tf.mul(CUBIC, tf.mul(x, tf.square(x))))));

/** Results of the experts and what the way back needs, in the type of products or float32. */
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
  const activation = kind === 'gelu' ? gelu : swiglu;
  return layout === 'batch' ? batchRunner(activation, math, numExperts) : sliceRunner(activation, math, counts, numExperts);
}

/** All experts in one batched product. */
function batchRunner(activation: Activation, math: DispatchMath, numExperts: number): ExpertRunner {
  const { parts } = activation;
  const perExpert = (x: tf.Tensor): tf.Tensor => math.reshape(x, [numExperts, -1, x.shape.at(-1)!]); // [E, C, .]
  const flat = (x: tf.Tensor): tf.Tensor => math.reshape(x, [-1, x.shape.at(-1)!]);
  const biased = (x: tf.Tensor, bias: tf.Tensor | undefined) => (bias === undefined ? x : tf.add(math.widen(x), tf.expandDims(bias, -2)));
  const separate = (x: tf.Tensor): tf.Tensor[] => (parts === 1 ? [x] : math.unstack(x, 1));
  const together = (xs: readonly tf.Tensor[]): tf.Tensor => (parts === 1 ? xs[0]! : math.stack(xs, 1)); // [E, P, C, H]
  /** Rows for every part: broadcast where the backend can. */
  const forParts = (x: tf.Tensor): tf.Tensor => {
    if (parts === 1) return perExpert(x);
    return math.native ? math.reshape(x, [numExperts, 1, -1, x.shape.at(-1)!]) : math.stack(Array<tf.Tensor>(parts).fill(perExpert(x)), 1);
  };
  return {
    forward(rows, { up, down, upBias, downBias }) {
      const hidden = biased(math.product(forParts(rows), up), upBias);
      const output = biased(math.product(math.round(activation.forward(separate(math.widen(hidden)))), down), downBias);
      return { outputs: [flat(output)], hidden: [hidden] };
    },
    backward(dOutput, rows, [hidden], { up, down, upBias, downBias }) {
      const dFlat = perExpert(dOutput);
      const d = math.round(dFlat);
      const { value, gradient } = activation.backward(separate(math.widen(after(hidden!, dOutput))));
      const dHidden = together(gradient(math.widen(math.product(d, down, false, true))));
      const dRounded = math.round(dHidden);
      const dParts = math.widen(math.product(dRounded, up, false, true));
      return {
        dRows: [flat(parts === 1 ? dParts : tf.sum(dParts, 1))],
        grads: {
          up: math.widen(math.product(forParts(rows), dRounded, true)),
          down: math.widen(math.product(math.round(value), d, true)),
          ...(upBias && { upBias: tf.sum(dHidden, -2) }),
          ...(downBias && { downBias: tf.sum(dFlat, 1) }),
        },
      };
    },
  };
}

/** Each expert multiplies its slice; weight gradients are stacked once, where a tape would pad every slice to the full size. */
function sliceRunner(activation: Activation, math: DispatchMath, counts: tf.Tensor, numExperts: number): ExpertRunner {
  const { parts } = activation;
  const sizes = math.sliceSizes(counts);
  /** Entries of each expert, one per part. */
  const perExpert = (x: tf.Tensor, inner: number): tf.Tensor[][] => {
    const all = math.unstack(math.reshape(x, [numExperts * parts, ...x.shape.slice(x.rank - inner)]));
    return Array.from({ length: numExperts }, (_, e) => all.slice(e * parts, (e + 1) * parts));
  };
  const biased = (x: tf.Tensor, bias: tf.Tensor | undefined) => (bias === undefined ? x : tf.add(math.widen(x), bias));
  /** One entry for each expert; those without tokens get zeros. */
  const stacked = (entries: readonly tf.Tensor[][], like: tf.Tensor): tf.Tensor => {
    if (entries.length === 0) return tf.zeros(like.shape);
    const byExpert = new Map(sizes.experts.map((expert, i) => [expert, entries[i]!]));
    const nothing = entries.length < numExperts ? entries[0]!.map((entry) => tf.zerosLike(entry)) : undefined;
    const all = Array.from({ length: numExperts }, (_, e) => byExpert.get(e) ?? nothing!);
    return math.widen(math.reshape(math.stack(all.flat()), like.shape));
  };
  return {
    forward(rows, { up, down, upBias, downBias }) {
      const [ups, downs] = [perExpert(up, 2), math.unstack(down)];
      const [upBiases, downBiases] = [upBias && perExpert(upBias, 1), downBias && math.unstack(downBias)];
      const hidden: tf.Tensor[] = [];
      const outputs = math.split(rows, sizes).map((part, i) => {
        const e = sizes.experts[i]!;
        const h = ups[e]!.map((w, p) => biased(math.product(part, w), upBiases?.[e]?.[p]));
        hidden.push(...h);
        return biased(math.product(math.round(activation.forward(h.map(math.widen))), downs[e]!), downBiases?.[e]);
      });
      return { outputs, hidden };
    },
    backward(dOutput, rows, hidden, { up, down, upBias, downBias }) {
      const [ups, downs] = [perExpert(up, 2), math.unstack(down)];
      const slices = math.split(rows, sizes);
      const unrounded = downBias === undefined ? undefined : math.split(dOutput, sizes);
      const grads: Record<keyof ExpertTensors, tf.Tensor[][]> = { up: [], down: [], upBias: [], downBias: [] };
      const dRows = math.split(math.round(dOutput), sizes).map((d, i) => {
        const e = sizes.experts[i]!;
        const kept = hidden.slice(i * parts, (i + 1) * parts).map((h) => math.widen(after(h, dOutput)));
        const { value, gradient } = activation.backward(kept);
        const dHidden = gradient(math.widen(math.product(d, downs[e]!, false, true)));
        const dRounded = dHidden.map((h) => math.round(h));
        grads.down.push([math.product(math.round(value), d, true)]);
        grads.up.push(dRounded.map((h) => math.product(slices[i]!, h, true)));
        if (upBias !== undefined) grads.upBias.push(dHidden.map((h) => tf.sum(h, 0)));
        if (unrounded !== undefined) grads.downBias.push([tf.sum(unrounded[i]!, 0)]);
        return dRounded.map((h, p) => math.widen(math.product(h, ups[e]![p]!, false, true))).reduce((a, b) => tf.add(a, b));
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
