/**
 * Routed SwiGLU experts by sorting: tokens are gathered in the order of their expert, each expert multiplies its slice, and
 * results are gathered back and summed over the k choices. Dropless, deterministic (no scatter: the gradient of a permutation
 * is a gather by its inverse), and one custom gradient returns the stacked weight gradients once; a tape through slices of
 * stacked weights would pad every slice's gradient to the full size.
 *
 * On the TensorFlow runtime nothing is read to the host and slice sizes stay dynamic inside a compiled step.
 */
import {
  argsort,
  bincount,
  DataType,
  invertPermutation,
  type Precision,
  ShapeError,
  type TensorFlowBackend,
  tensorFlowBackend,
} from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import type { RoutingPlan } from './plan.js';

/** Stacked weights of the routed experts. */
export interface ExpertWeights {
  /** `[E, D, 2H]`: gate half, then up half. */
  gateUp: tf.Tensor;
  /** `[E, H, D]` */
  down: tf.Tensor;
}

/**
 * `sum_j weights[:, j] * expert_{indices[:, j]}(x)`.
 *
 * @param x `[N, D]`
 * @returns `[N, D]`
 * @throws ShapeError if the shapes do not fit
 */
export function swigluExperts(
  x: tf.Tensor,
  routing: Pick<RoutingPlan, 'indices' | 'weights'>,
  experts: ExpertWeights,
  options: { precision?: Precision } = {},
): tf.Tensor {
  const [tokens, width] = x.shape as [number, number];
  const [numExperts, inputs, doubled] = experts.gateUp.shape as [number, number, number];
  const choices = routing.indices.shape[1]!;
  if (inputs !== width || experts.down.shape.join() !== [numExperts, doubled / 2, width].join()) {
    throw new ShapeError(
      'swigluExperts',
      `gateUp [E, ${width}, 2H] and down [E, H, ${width}]`,
      `[${experts.gateUp.shape}] and [${experts.down.shape}]`,
    );
  }
  const math = slicedMath(tensorFlowBackend(), experts, options.precision);

  return tf.customGrad((xIn, wIn, gateUpIn, downIn, save) => {
    const flat = tf.reshape(routing.indices, [-1]);
    const order = argsort(flat); // slot in expert order -> token-major slot
    const inverse = invertPermutation(order);
    const token = tf.floorDiv(order, tf.scalar(choices, 'int32'));
    const counts = bincount(flat, numExperts);

    const rounded = math.round(xIn as tf.Tensor);
    const sorted = math.take(rounded, token); // [N k, D]
    const [gateUp, down] = [math.round(gateUpIn as tf.Tensor), math.round(downIn as tf.Tensor)];
    const sizes = math.sizes(counts);
    const [w1, w2] = [math.unstack(gateUp), math.unstack(down)];
    const hidden: tf.Tensor[] = [];
    const outputs = math.split(sorted, sizes).map((part, e) => {
      const h = math.product(part, w1[math.expert(sizes, e)]!);
      hidden.push(h);
      const [g, u] = math.halves(h);
      return math.product(math.round(tf.mul(tf.mul(g, tf.sigmoid(g)), u)), w2[math.expert(sizes, e)]!);
    });
    const slots = tf.reshape(math.take(math.join(outputs), inverse), [tokens, choices, width]);
    const value = tf.sum(tf.mul(slots, tf.expandDims(wIn as tf.Tensor, 2)), 1);
    (save as tf.GradSaveFunc)([sorted, gateUp, down, wIn as tf.Tensor, slots, order, inverse, token, counts, ...hidden]);

    const gradFunc = (dy: tf.Tensor, saved: tf.Tensor[]): tf.Tensor[] => {
      const [sSorted, sGateUp, sDown, sWeights, sSlots, sOrder, sInverse, sToken, sCounts, ...sHidden] = saved as [
        tf.Tensor,
        tf.Tensor,
        tf.Tensor,
        tf.Tensor,
        tf.Tensor,
        tf.Tensor,
        tf.Tensor,
        tf.Tensor,
        tf.Tensor,
        ...tf.Tensor[],
      ];
      const dWeights = tf.sum(tf.mul(sSlots, tf.expandDims(dy, 1)), 2);
      const slotWeights = math.take(tf.reshape(sWeights, [tokens * choices, 1]), sOrder);
      const dSorted = math.round(tf.mul(math.take(dy, sToken), slotWeights));
      const partSizes = math.sizes(sCounts);
      const [v1, v2] = [math.unstack(sGateUp), math.unstack(sDown)];
      const parts = math.split(sSorted, partSizes);
      const dGateUp: tf.Tensor[] = [];
      const dDown: tf.Tensor[] = [];
      const dParts = math.split(dSorted, partSizes).map((d, e) => {
        const expert = math.expert(partSizes, e);
        const [g, u] = math.halves(sHidden[e]!);
        const s = tf.sigmoid(g);
        const gs = tf.mul(g, s);
        const dActivation = math.product(d, v2[expert]!, false, true);
        // d silu(g) = s + g s - g s s
        const dGate = tf.mul(tf.mul(dActivation, u), tf.add(s, tf.sub(gs, tf.mul(gs, s))));
        const dHidden = math.round(math.joinColumns(dGate, tf.mul(dActivation, gs)));
        dDown.push(math.product(math.round(tf.mul(gs, u)), d, true));
        dGateUp.push(math.product(parts[e]!, dHidden, true));
        return math.product(dHidden, v1[expert]!, false, true);
      });
      const dx = tf.sum(tf.reshape(math.take(math.join(dParts), sInverse), [tokens, choices, width]), 1);
      return [dx, dWeights, math.stack(dGateUp, partSizes), math.stack(dDown, partSizes)];
    };
    return { value, gradFunc };
  })(x, routing.weights, experts.gateUp, experts.down);
}

/** Sizes of the slices: a tensor on the TensorFlow runtime, the numbers of the experts that have tokens elsewhere. */
type Sizes = tf.Tensor | { expert: number; size: number }[];

/** What the two passes need, for one backend. */
interface SlicedMath {
  round(x: tf.Tensor): tf.Tensor;
  take(x: tf.Tensor, indices: tf.Tensor): tf.Tensor;
  sizes(counts: tf.Tensor): Sizes;
  /** Number of the expert behind the `slice`-th slice. */
  expert(sizes: Sizes, slice: number): number;
  split(x: tf.Tensor, sizes: Sizes): tf.Tensor[];
  unstack(x: tf.Tensor): tf.Tensor[];
  /** Stacks gradients of the slices' experts; experts without tokens get zeros. */
  stack(parts: tf.Tensor[], sizes: Sizes): tf.Tensor;
  join(parts: tf.Tensor[]): tf.Tensor;
  joinColumns(a: tf.Tensor, b: tf.Tensor): tf.Tensor;
  halves(h: tf.Tensor): [tf.Tensor, tf.Tensor];
  product(a: tf.Tensor, b: tf.Tensor, transposeA?: boolean, transposeB?: boolean): tf.Tensor;
}

function slicedMath(backend: TensorFlowBackend | undefined, experts: ExpertWeights, precision: Precision | undefined): SlicedMath {
  const numExperts = experts.gateUp.shape[0]!;
  return backend === undefined
    ? portableMath(numExperts)
    : nativeMath(backend, numExperts, precision === 'bf16' || backend.dtypeOf(experts.gateUp) === DataType.bfloat16);
}

function nativeMath(backend: TensorFlowBackend, numExperts: number, low: boolean): SlicedMath {
  const cast = (x: tf.Tensor, type: DataType): tf.Tensor =>
    backend.dtypeOf(x) === type ? x : backend.raw('Cast', [x], { DstT: { type } })[0]!;
  const axis = (a: number): tf.Tensor => tf.scalar(a, 'int32');
  const join = (parts: tf.Tensor[], along: number): tf.Tensor =>
    backend.raw('ConcatV2', [...parts, axis(along)], {
      N: { int: parts.length },
      T: { type: backend.dtypeOf(parts[0]!) },
      Tidx: { type: DataType.int32 },
    })[0]!;
  return {
    round: (x) => (low ? cast(x, DataType.bfloat16) : x),
    take: (x, indices) => backend.raw('GatherV2', [x, indices, axis(0)])[0]!,
    sizes: (counts) => counts,
    expert: (_, slice) => slice,
    split: (x, sizes) => backend.raw('SplitV', [x, sizes as tf.Tensor, axis(0)], { num_split: { int: numExperts } }, numExperts),
    unstack: (x) => backend.raw('Unpack', [x], { num: { int: numExperts }, axis: { int: 0 } }, numExperts),
    stack: (parts) => backend.raw('Pack', parts, { N: { int: parts.length }, T: { type: DataType.float32 }, axis: { int: 0 } })[0]!,
    join: (parts) => join(parts, 0),
    joinColumns: (a, b) => join([a, b], 1),
    halves: (h) => backend.raw('Split', [axis(1), h], { num_split: { int: 2 } }, 2) as [tf.Tensor, tf.Tensor],
    product: (a, b, transposeA = false, transposeB = false) =>
      cast(backend.raw('MatMul', [a, b], { transpose_a: { bool: transposeA }, transpose_b: { bool: transposeB } })[0]!, DataType.float32),
  };
}

function portableMath(numExperts: number): SlicedMath {
  return {
    round: (x) => x,
    take: (x, indices) => tf.gather(x, indices as tf.Tensor1D),
    sizes: (counts) => Array.from(counts.dataSync(), (size, expert) => ({ expert, size })).filter(({ size }) => size > 0),
    expert: (sizes, slice) => (sizes as { expert: number }[])[slice]!.expert,
    split: (x, sizes) =>
      tf.split(
        x,
        (sizes as { size: number }[]).map(({ size }) => size),
        0,
      ),
    unstack: (x) => tf.unstack(x, 0),
    stack(parts, sizes) {
      const present = new Map((sizes as { expert: number }[]).map(({ expert }, i) => [expert, parts[i]!]));
      const empty = tf.zerosLike(parts[0]!);
      return tf.stack(Array.from({ length: numExperts }, (_, e) => present.get(e) ?? empty));
    },
    join: (parts) => tf.concat(parts, 0),
    joinColumns: (a, b) => tf.concat([a, b], 1),
    halves: (h) => tf.split(h, 2, 1) as [tf.Tensor, tf.Tensor],
    product: (a, b, transposeA = false, transposeB = false) =>
      tf.matMul((transposeA ? tf.transpose(a) : a) as tf.Tensor2D, (transposeB ? tf.transpose(b) : b) as tf.Tensor2D),
  };
}
