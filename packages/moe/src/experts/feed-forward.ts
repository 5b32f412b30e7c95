/** Stacked feed-forward experts on rows that are laid out by expert: forward and backward, off the gradient tape. */
import {
  after,
  type ElementwiseChain,
  fused,
  geluActivation,
  geluActivationGradients,
  joinRows,
  type Products,
  partsOf,
  reshapeRows,
  ShapeError,
  splitRows,
  stackRows,
  swigluActivation,
  swigluActivationGradients,
  tensorFlowBackend,
  unstackRows,
  widen,
} from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import type { Grouping } from '../dispatch/grouping.js';

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
  /** Of matrices in int8: what their output channels are multiplied by, `[E, 2, H]`. */
  gateUpScale?: tf.Tensor;
  /** `[E, D]` */
  downScale?: tf.Tensor;
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
  /** Of matrices in int8: what their output channels are multiplied by, `[E, H]`. */
  upScale?: tf.Tensor;
  /** `[E, D]` */
  downScale?: tf.Tensor;
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

/**
 * The scales of matrices in int8, under common names; `undefined` for others.
 * @throws ShapeError if one of two is missing, or they do not fit the matrices
 */
export function expertScales(experts: FeedForwardExperts): { up: tf.Tensor; down: tf.Tensor } | undefined {
  const [matrix, up] = experts.kind === 'gelu' ? [experts.up, experts.upScale] : [experts.gateUp, experts.gateUpScale];
  const down = experts.downScale;
  if (up === undefined && down === undefined) return undefined;
  // A scale for each output channel: the matrix without the axis that is summed over.
  const [upShape, downShape] = [matrix, experts.down].map(({ shape }) => shape.toSpliced(-2, 1));
  if (up?.shape.join() !== upShape.join() || down?.shape.join() !== downShape.join())
    throw new ShapeError('experts', `scales [${upShape}] and [${downShape}] of the matrices, or none`, up?.shape ?? down!.shape);
  return { up, down };
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
  const [numExperts, hidden] = [up.shape[0], up.shape.at(-1)!];
  check(up, [numExperts, ...parts, width, hidden], `${name} [${['E', ...parts, width, 'H'].join(', ')}]`);
  check(down, [numExperts, hidden, width], `down [${numExperts}, ${hidden}, ${width}] for ${name} [${up.shape}]`);
  check(upBias, [numExperts, ...parts, hidden], `${name}Bias [${[numExperts, ...parts, hidden].join(', ')}]`);
  check(downBias, [numExperts, width], `downBias [${numExperts}, ${width}]`);
  return { up, down, ...(upBias && { upBias }), ...(downBias && { downBias }) };
}

/** An activation between the products, as two chains that can be fused. Both compute in float32, results have the type of the parts. */
interface Activation {
  /** Products before it, whose results it takes. */
  parts: number;
  /** Of the parts. */
  value: ElementwiseChain;
  /** Of the parts and the gradient of the value: the value again (to recompute it is cheaper than to keep it), then the gradient of each part. */
  gradients: ElementwiseChain;
}

const swiglu: Activation = { parts: 2, value: swigluActivation, gradients: swigluActivationGradients };
const gelu: Activation = { parts: 1, value: geluActivation, gradients: geluActivationGradients };

/** Results of the experts and what the way back needs, in the type of products or float32. */
interface ExpertPass {
  /** Parts of the rows' results in order, each `[., D]`. */
  outputs: tf.Tensor[];
  hidden: tf.Tensor[];
}

export interface ExpertRunner {
  /**
   * @param rows rounded, `[R, D]`
   * @param weights as they are stored; each matrix is rounded when it is multiplied
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
  math: Products,
  { layout, counts, slotsFull }: Pick<Grouping, 'layout' | 'counts' | 'slotsFull'>,
  numExperts: number,
): ExpertRunner {
  const activation = kind === 'gelu' ? gelu : swiglu;
  if (layout === 'batch') return batchRunner(activation, math, numExperts);
  // Where slots can be empty, the number of rows changes with every batch, and so would the fused kernels.
  return sliceRunner(activation, math, counts, numExperts, slotsFull ? fused : (compute, inputs) => compute(...inputs));
}

/** All experts in one batched product. */
function batchRunner(activation: Activation, math: Products, numExperts: number): ExpertRunner {
  const { parts } = activation;
  const perExpert = (x: tf.Tensor): tf.Tensor => reshapeRows(x, [numExperts, -1, x.shape.at(-1)!]); // [E, C, .]
  const flat = (x: tf.Tensor): tf.Tensor => reshapeRows(x, [-1, x.shape.at(-1)!]);
  const biased = (x: tf.Tensor, bias: tf.Tensor | undefined) => (bias === undefined ? x : tf.add(widen(x), tf.expandDims(bias, -2)));
  const separate = (x: tf.Tensor): tf.Tensor[] => (parts === 1 ? [x] : unstackRows(x, 1));
  const together = (xs: readonly tf.Tensor[]): tf.Tensor => (parts === 1 ? xs[0] : stackRows(xs, 1)); // [E, P, C, H]
  /** Rows for every part: broadcast where the backend can. */
  const forParts = (x: tf.Tensor): tf.Tensor => {
    if (parts === 1) return perExpert(x);
    return tensorFlowBackend() !== undefined
      ? reshapeRows(x, [numExperts, 1, -1, x.shape.at(-1)!])
      : stackRows(Array<tf.Tensor>(parts).fill(perExpert(x)), 1);
  };
  return {
    forward(rows, { up, down, upBias, downBias }) {
      const hidden = biased(math.product(forParts(rows), math.round(up, rows)), upBias);
      const [value] = activation.value(...separate(hidden)) as [tf.Tensor];
      const output = biased(math.product(math.round(value), math.round(down, value)), downBias);
      return { outputs: [flat(output)], hidden: [hidden] };
    },
    backward(dOutput, rows, [hidden], { up, down, upBias, downBias }) {
      const dFlat = perExpert(dOutput);
      const d = math.round(dFlat);
      const [value, ...dParts] = activation.gradients(
        ...separate(after(hidden, dOutput)),
        math.product(d, math.round(down, d), false, true),
      );
      const dHidden = together(dParts);
      const dRounded = math.round(dHidden);
      const dRowsOfParts = widen(math.product(dRounded, math.round(up, dRounded), false, true));
      return {
        dRows: [flat(parts === 1 ? dRowsOfParts : tf.sum(dRowsOfParts, 1))],
        grads: {
          up: widen(math.product(forParts(rows), dRounded, true)),
          down: widen(math.product(math.round(value), d, true)),
          ...(upBias && { upBias: tf.sum(dHidden, -2) }),
          ...(downBias && { downBias: tf.sum(dFlat, 1) }),
        },
      };
    },
  };
}

/**
 * Each expert multiplies its slice; weight gradients are stacked once, where a tape would pad every slice to the full size. The activation
 * runs on blocks of rows: in float32 on each expert's, while they are in the cache; in bfloat16 on all at once, as one fused kernel, which
 * costs less than to widen them.
 */
function sliceRunner(activation: Activation, math: Products, counts: tf.Tensor, numExperts: number, fuse: typeof fused): ExpertRunner {
  const { parts } = activation;
  const slicing = partsOf(counts);
  const experts = slicing.present;
  const split = (x: tf.Tensor): tf.Tensor[] => splitRows(x, slicing);
  const toBlocks = (slices: tf.Tensor[]): tf.Tensor[] => (math.low ? [joinRows(slices)] : slices);
  const toSlices = (blocks: tf.Tensor[]): tf.Tensor[] => (math.low ? split(blocks[0]) : blocks);
  /** Entries of each expert, one per part. */
  const perExpert = (x: tf.Tensor, inner: number): tf.Tensor[][] => {
    const all = unstackRows(reshapeRows(x, [numExperts * parts, ...x.shape.slice(x.rank - inner)]));
    return Array.from({ length: numExperts }, (_, e) => all.slice(e * parts, (e + 1) * parts));
  };
  const biased = (x: tf.Tensor, bias: tf.Tensor | undefined) => (bias === undefined ? x : tf.add(widen(x), bias));
  /** One entry for each expert; those without tokens get zeros. */
  const stacked = (entries: readonly tf.Tensor[][], like: tf.Tensor): tf.Tensor => {
    const byExpert = new Map(experts.map((expert, i) => [expert, entries[i]]));
    const nothing = entries.length < numExperts ? entries[0].map((entry) => tf.zerosLike(entry)) : undefined;
    const all = Array.from({ length: numExperts }, (_, e) => byExpert.get(e) ?? nothing!);
    return widen(reshapeRows(stackRows(all.flat()), like.shape));
  };
  return {
    forward(rows, { up, down, upBias, downBias }) {
      if (experts.length === 0) return { outputs: [], hidden: [] };
      const [ups, downs] = [perExpert(up, 2), unstackRows(down)];
      const [upBiases, downBiases] = [upBias && perExpert(upBias, 1), downBias && unstackRows(downBias)];
      const slices = split(rows);
      const hidden = Array.from({ length: parts }, (_, p) =>
        toBlocks(experts.map((e, i) => biased(math.product(slices[i], math.round(ups[e][p], slices[i])), upBiases?.[e]?.[p]))),
      );
      const values = hidden[0].map((_, b) =>
        math.round(
          fuse(
            activation.value,
            hidden.map((part) => part[b]),
          )[0],
        ),
      );
      const outputs = toSlices(values).map((value, i) => {
        const e = experts[i];
        return biased(math.product(value, math.round(downs[e], value)), downBiases?.[e]);
      });
      return { outputs, hidden: hidden.flat() };
    },
    backward(dOutput, rows, hidden, { up, down, upBias, downBias }) {
      if (experts.length === 0) {
        const given = Object.entries({ up, down, upBias, downBias }).filter(([, weight]) => weight !== undefined);
        return {
          dRows: [],
          grads: Object.fromEntries(given.map(([name, weight]) => [name, tf.zeros(weight!.shape)])) as unknown as ExpertTensors,
        };
      }
      const [ups, downs] = [perExpert(up, 2), unstackRows(down)];
      const [slices, dSlices] = [split(rows), split(math.round(dOutput))];
      const dValues = toBlocks(dSlices.map((d, i) => math.product(d, math.round(downs[experts[i]], d), false, true)));
      const kept = hidden.map((h) => after(h, dOutput));
      /** By block: the value, then the gradient of each part. */
      const results = dValues.map((dValue, b) => {
        const ofBlock = Array.from({ length: parts }, (_, p) => kept[p * dValues.length + b]);
        return fuse(activation.gradients, [...ofBlock, dValue]);
      });
      const values = toSlices(results.map(([value]) => math.round(value)));
      const dHidden = Array.from({ length: parts }, (_, p) => results.map((result) => result[1 + p]));
      /** By part, then by expert. */
      const dParts = dHidden.map((blocks) => toSlices(blocks.map((block) => math.round(block))));
      const ofExperts = (entries: (i: number) => tf.Tensor[]) => experts.map((_, i) => entries(i));
      const sums = (xs: readonly tf.Tensor[][], bias: tf.Tensor) =>
        stacked(
          ofExperts((i) => xs.map((x) => tf.sum(x[i], 0))),
          bias,
        );
      return {
        dRows: experts.map((e, i) =>
          dParts.map((d, p) => widen(math.product(d[i], math.round(ups[e][p], d[i]), false, true))).reduce((a, b) => tf.add(a, b)),
        ),
        grads: {
          up: stacked(
            ofExperts((i) => dParts.map((d) => math.product(slices[i], d[i], true))),
            up,
          ),
          down: stacked(
            ofExperts((i) => [math.product(values[i], dSlices[i], true)]),
            down,
          ),
          ...(upBias && { upBias: sums(dHidden.map(toSlices), upBias) }),
          ...(downBias && { downBias: sums([split(dOutput)], downBias) }),
        },
      };
    },
  };
}
