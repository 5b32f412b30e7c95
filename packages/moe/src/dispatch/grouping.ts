/**
 * Dispatchers: how the assignments of a plan are laid out as rows for the experts.
 *
 * Every dispatcher says for each row which slot of the plan it serves, and for each slot which row has its result. Tokens go to rows
 * and results come back by gathers, in both directions of the gradient, so nothing is scattered and two runs are bit-equal.
 */
import {
  ArgumentError,
  argsort,
  bincount,
  firstRows,
  invertPermutation,
  oneHot,
  rangeTo,
  reshapeRows,
  takeRows,
  toFloat,
} from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { flatIndices, type RoutingPlan } from '../plan.js';

/** Rows of the experts. `S = N * m` slots of the plan, `R` rows. */
export interface Grouping {
  /** `slices`: rows of expert 0, then of expert 1, ..., `counts` each. `batch`: equally many rows for each expert. */
  layout: 'slices' | 'batch';
  /** Slot of each row: int32 `[R]`; `S` for an empty row. */
  slotOfRow: tf.Tensor;
  /** Row of each slot: int32 `[S]`; `R` for a slot that is empty or has no room. */
  rowOfSlot: tf.Tensor;
  /** Rows of each expert in `slices`, assignments in `batch`: int32 `[E]`. */
  counts: tf.Tensor;
  /** Whether no row is empty. */
  rowsFull: boolean;
  /** Whether every slot has a row. */
  slotsFull: boolean;
  /** Assignments without room: float32 scalar; `undefined` where that cannot happen. */
  dropped?: tf.Scalar;
}

/** What a dispatcher sees of a plan. */
export type Assignments = Pick<RoutingPlan, 'indices' | 'weights' | 'numExperts' | 'full'>;

/** What a dispatcher may know of the experts. */
export interface ExpertShape {
  /** Channels of a token. */
  width: number;
  /** Hidden width of an expert. */
  hidden: number;
  kind: 'swiglu' | 'gelu';
  /** Whether their products are in bfloat16 or int8. */
  narrow: boolean;
}

/** Lays out a plan. Runs off the gradient tape. */
export type Dispatcher = (plan: Assignments, experts: ExpertShape) => Grouping;

/** Int32 arithmetic runs on the host in TensorFlow's GPU build, so indices are computed in float32, which is exact below 2^24. */
const MAX_SLOTS = 2 ** 24;

/** The assignments in the order of their experts. */
function sorted(plan: Assignments, byScore = false) {
  const { indices, weights, numExperts } = plan;
  const slots = indices.size;
  if (slots >= MAX_SLOTS) throw new ArgumentError('moe', `fewer than ${MAX_SLOTS} tokens times slots; split the batch`, slots);
  const flat = flatIndices(indices);
  let order = argsort(flat);
  if (byScore) {
    const first = argsort(tf.neg(tf.reshape(weights, [-1])));
    order = takeRows(first, argsort(takeRows(flat, first)));
  }
  return { flat, order, inverse: invertPermutation(order), counts: bincount(flat, numExperts), slots };
}

const int = (x: tf.Tensor): tf.Tensor => tf.cast(x, 'int32');
/** `a` where `condition` (0 or 1) holds, else `b`. */
const choose = (condition: tf.Tensor, a: tf.Tensor, b: tf.Tensor | number): tf.Tensor => tf.add(b, tf.mul(condition, tf.sub(a, b)));

/**
 * Dropless: rows sorted by expert, each expert multiplies its slice. No wasted work whatever the load; the default, and the fastest
 * on CPUs and for large batches. Off the TensorFlow runtime the sizes are read to the host, once per layer and direction.
 */
export const slices: Dispatcher = (plan, { narrow }) => {
  const multiple = narrow ? multipleOf(plan.indices.size / plan.numExperts) : 1;
  if (multiple > 1) return roundedSlices(plan, multiple);
  const { order, inverse, counts } = sorted(plan);
  if (plan.full) return { layout: 'slices', slotOfRow: order, rowOfSlot: inverse, counts, rowsFull: true, slotsFull: true };
  // Empty slots sort behind the last expert. The host has the counts for the slices, so it may sum them as well.
  const total = tf.sum(counts);
  const rowOfSlot = int(tf.minimum(toFloat(inverse), toFloat(total)));
  const slotOfRow = int(firstRows(toFloat(order), total));
  return { layout: 'slices', slotOfRow, rowOfSlot, counts, rowsFull: true, slotsFull: false };
};

/**
 * What the rows of an expert in bfloat16 or int8 should be a multiple of, for `load` rows on average: oneDNN generates code for every size of such
 * a product that it has not met (0.2 to 0.7 ms), and keeps 1,024 of them. With a 64th of the load few sizes occur, at 1.6 % more rows.
 */
const multipleOf = (load: number): number => 2 ** Math.max(0, Math.floor(Math.log2(load / 64)));

/**
 * Slices with empty rows at their ends, so that their sizes are multiples. Without empty slots the number of all rows is the same
 * whatever the loads: the last expert has what remains.
 */
export function roundedSlices({ indices, numExperts, full }: Assignments, multiple: number): Grouping {
  const slots = indices.size;
  const rows = multiple * Math.ceil((slots + numExperts * (multiple - 1)) / multiple);
  const flat = flatIndices(indices);
  const loads = toFloat(bincount(flat, numExperts));
  const sizes = tf.mul(tf.ceil(tf.div(loads, multiple)), multiple);
  // Every expert has candidates for its empty rows; those that it does not need sort behind the last expert, as empty slots do.
  const needed = toFloat(tf.less(tf.expandDims(tf.range(0, multiple - 1), 0), tf.expandDims(tf.sub(sizes, loads), 1)));
  const candidates = tf.reshape(choose(needed, tf.expandDims(tf.range(0, numExperts), 1), numExperts), [-1]); // [E (multiple - 1)]
  const spare = tf.fill([rows - slots - candidates.size], numExperts);
  const order = argsort(tf.concat([toFloat(flat), candidates, spare])); // [rows]
  const rowOfSlot = int(tf.slice(toFloat(invertPermutation(order)), [0], [slots]));
  const slotOf = (x: tf.Tensor): tf.Tensor => int(tf.minimum(toFloat(x), slots));
  if (full) {
    const last = tf.tensor1d(Array.from({ length: numExperts }, (_, e) => (e === numExperts - 1 ? 1 : 0)));
    const counts = int(tf.add(sizes, tf.mul(last, tf.sub(rows, tf.sum(sizes)))));
    return { layout: 'slices', slotOfRow: slotOf(order), rowOfSlot, counts, rowsFull: false, slotsFull: true };
  }
  const counts = int(sizes);
  const total = tf.sum(counts);
  const slotOfRow = slotOf(firstRows(toFloat(order), total));
  const inside = int(tf.minimum(toFloat(rowOfSlot), toFloat(total)));
  return { layout: 'slices', slotOfRow, rowOfSlot: inside, counts, rowsFull: false, slotsFull: false };
}

/**
 * Dropless: one batched product, every expert padded to the load of the fullest. Few ops, but work grows with the largest load over
 * the mean. Off the TensorFlow runtime that load is read to the host.
 */
export const padded: Dispatcher = (plan) => {
  const { counts, ...rest } = sorted(plan);
  return batch(plan, { counts, ...rest }, tf.maximum(tf.max(toFloat(counts)), 1));
};

/** Room of each expert. */
export interface CapacityOptions {
  /** Room of each expert as a multiple of an even share of the assignments (default 1.25); plans without empty slots only. */
  factor?: number;
  /** Room of each expert in tokens, instead of `factor`. */
  perExpert?: number;
  /**
   * Which assignments find no room (default `score`): those with the smallest weights, or those of the last tokens (`position`,
   * as Switch Transformer).
   */
  dropBy?: 'score' | 'position';
}

/**
 * Static shapes and no synchronisation: every expert has the same fixed room, and what does not fit is dropped and counted. For
 * backends that cannot read without stalling. With room for all tokens nothing is dropped.
 */
export const capacity =
  ({ factor = 1.25, perExpert, dropBy = 'score' }: CapacityOptions = {}): Dispatcher =>
  (plan) => {
    const tokens = plan.indices.shape[0];
    if (perExpert === undefined && !plan.full)
      throw new ArgumentError('capacity', 'perExpert, as the plan has a varying number of experts per token', 'none');
    const room = perExpert ?? Math.ceil((factor * plan.indices.size) / plan.numExperts);
    if (!(room >= 1)) throw new ArgumentError('capacity', 'room for at least one token', room);
    const rows = Math.min(tokens, Math.floor(room));
    const order = sorted(plan, dropBy === 'score');
    const dropped = tf.sum(tf.relu(tf.sub(toFloat(order.counts), rows))) as tf.Scalar;
    return { ...batch(plan, order, rows), slotsFull: plan.full && rows === tokens, dropped };
  };

/** Equal numbers of rows for every expert, in the order of the sort. */
function batch({ numExperts, full }: Assignments, order: ReturnType<typeof sorted>, rows: number | tf.Tensor): Grouping {
  const { slots } = order;
  const counts = toFloat(order.counts);
  const start = tf.cumsum(counts, 0, true); // [E]
  const position = rangeTo(rows); // [C]
  const sortedAt = tf.minimum(tf.add(tf.expandDims(start, 1), tf.expandDims(position, 0)), slots - 1); // [E, C]
  const taken = toFloat(tf.less(tf.expandDims(position, 0), tf.expandDims(counts, 1)));
  const flatten = (x: tf.Tensor): tf.Tensor => reshapeRows(x, [-1]);
  const slotOfRow = int(choose(flatten(taken), toFloat(takeRows(order.order, int(flatten(sortedAt)))), slots));

  const expert = toFloat(order.flat); // [S]
  const rank = tf.sub(toFloat(order.inverse), takeRows(tf.concat([start, tf.tensor1d([0])]), order.flat));
  const fits = tf.mul(toFloat(tf.less(rank, rows)), toFloat(tf.less(expert, numExperts)));
  const none = tf.mul(rows, numExperts);
  const rowOfSlot = int(choose(fits, tf.add(tf.mul(expert, rows), rank), none));
  return { layout: 'batch', slotOfRow, rowOfSlot, counts: order.counts, rowsFull: false, slotsFull: full };
}

/**
 * Every expert has a row for every token: static shapes, no sort, no synchronisation, nothing dropped, at E / k times the work. For few
 * tokens or few experts, where everything else is overhead.
 */
export const dense: Dispatcher = ({ indices, numExperts, full }) => {
  const [tokens, slotsPerToken] = indices.shape as [number, number];
  const slots = tokens * slotsPerToken;
  const chosen = oneHot(indices, numExperts); // [N, m, E]
  const slot = tf.reshape(tf.range(0, slots), [tokens, slotsPerToken, 1]);
  const mask = tf.sum(chosen, 1); // [N, E]
  const slotOfRow = int(tf.reshape(tf.transpose(choose(mask, tf.sum(tf.mul(chosen, slot), 1), slots)), [-1]));
  const token = tf.expandDims(tf.range(0, tokens), 1); // [N, 1]
  // An empty slot holds the number of experts, which leads behind the last row already.
  const row = tf.minimum(tf.add(tf.mul(toFloat(indices), tokens), token), numExperts * tokens);
  const counts = int(tf.sum(mask, 0));
  return { layout: 'batch', slotOfRow, rowOfSlot: int(tf.reshape(row, [-1])), counts, rowsFull: false, slotsFull: full };
};
