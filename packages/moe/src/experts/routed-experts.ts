/**
 * Routed experts: tokens go to rows, experts work on rows, results come back and are summed by weight. Each of the three is one op with
 * a gradient of its own, so that no gather and no slice is on the tape and stacked weights get their gradient once.
 */
import {
  ArgumentError,
  alone,
  type Collectives,
  customGradient,
  gatherRows,
  joinRows,
  type Precision,
  type Products,
  products,
  type QuantizedRows,
  quantizeRows,
  ShapeError,
  stopGradient,
  toFloat,
  widen,
  withoutGradient,
} from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { type Assignments, type Dispatcher, dense, type Grouping, slices } from '../dispatch/grouping.js';
import { combine, inRows, type Rows, rowsOf, toRows } from '../dispatch/rows.js';
import { expertExchange } from './expert-ranks.js';
import { type ExpertTensors, expertRunner, expertScales, expertTensors, type FeedForwardExperts } from './feed-forward.js';
import { int8Experts } from './int8-experts.js';
import type { ExpertModulation } from './modulation.js';

/** How routed experts are computed. */
export interface RoutedExpertsOptions {
  /** Precision of products (default `f32`; `bf16` needs the TensorFlow runtime, other backends compute in float32). */
  precision?: Precision;
  /**
   * Lays tokens out for the experts: `slices` (default), `padded`, `dense` (default on WebGPU, which cannot read sizes to the host without
   * stalling), `capacity(...)`, or `auto(...)` to choose the fastest.
   */
  dispatcher?: Dispatcher;
  /** Conditions the experts on the sample (default: not). */
  modulation?: ExpertModulation;
  /**
   * Ranks that share the experts out: each holds the weights of an equal part of them, in the order of ranks, and gets the rows of all
   * (default: every process holds all experts). The dispatcher must be `capacity({ perExpert })`, with the same room on every rank.
   */
  expertRanks?: Collectives;
}

/**
 * `sum_j weights[:, j] * expert_{indices[:, j]}(x)`; empty slots and assignments without room give nothing.
 *
 * @param x `[N, D]`
 * @returns `output` `[N, D]`, and `dropped` if the dispatcher counts assignments without room
 * @throws ShapeError if the shapes do not fit
 */
export function routedExperts(
  x: tf.Tensor,
  plan: Assignments,
  experts: FeedForwardExperts,
  options: RoutedExpertsOptions = {},
): { output: tf.Tensor; dropped?: tf.Scalar } {
  const [tokens, width] = x.shape as [number, number];
  const { numExperts, indices } = plan;
  const weights = expertTensors(experts, width);
  const { expertRanks = alone } = options;
  if (weights.up.shape[0] * expertRanks.size !== numExperts)
    throw new ShapeError(
      'experts',
      `weights of ${numExperts} experts${expertRanks.size > 1 ? ` on ${expertRanks.size} ranks` : ''}`,
      weights.up.shape,
    );
  if (indices.shape[0] !== tokens) throw new ShapeError('experts', `indices [${tokens}, m]`, indices.shape);
  const { modulation, dispatcher = tf.getBackend() === 'webgpu' ? dense : slices } = options;

  const math = products(weights.up, options.precision);
  const scales = expertScales(experts);
  if (scales !== undefined && expertRanks.size > 1)
    throw new ArgumentError('experts: expertRanks', 'experts with weights in float32 or bfloat16', 'int8');
  const narrow = math.low || scales !== undefined;
  const shape = { width, hidden: weights.down.shape[1]!, kind: experts.kind ?? 'swiglu', narrow } as const;
  // Booleans and words in a grouping are no tensors, which tidy does not mind.
  const grouping = tf.tidy(() => dispatcher({ ...plan, weights: stopGradient(plan.weights) }, shape) as never) as Grouping;
  const rows = rowsOf(grouping, tokens, indices.shape[1]!);
  const table = modulation && modulationTable(modulation, rows, indices, numExperts, width);
  const modulated = (hidden: tf.Tensor): tf.Tensor => (table === undefined ? hidden : scaleAndShift(hidden, table.factor, table.shift));
  let results: tf.Tensor; // [R, D]
  if (scales !== undefined)
    results = withoutGradient(x, (x) => {
      // A token is quantized once, and its bytes go to all of its experts.
      const inInt8 = table === undefined ? inRowsInt8(quantizeRows(x), rows) : quantizeRows(modulated(inRows(x, rows)));
      return int8Experts(inInt8, experts.kind, weights, scales, rows);
    });
  else {
    const hidden = modulated(toRows(x, rows, table === undefined ? math.round : (x) => x)); // [R, D]
    const exchange = expertExchange(expertRanks, numExperts, grouping);
    results = exchange.fromOwners(runExperts(math, exchange.toOwners(hidden), experts.kind, weights, rows));
  }
  if (table !== undefined) results = scaleAndShift(results, table.gate);
  const output = combine(results, plan.weights, rows);
  return { output, ...(grouping.dropped && { dropped: grouping.dropped }) };
}

const inRowsInt8 = ({ values, scale }: QuantizedRows, rows: Rows): QuantizedRows => ({
  values: inRows(values, rows),
  scale: inRows(scale, rows),
});

/** `x * factor + shift` for equal shapes, without the reshapes of tfjs' gradients, which would fix the number of rows. */
function scaleAndShift(x: tf.Tensor, factor: tf.Tensor, shift?: tf.Tensor): tf.Tensor {
  return customGradient(
    [x, factor, shift],
    ([x, factor, shift]) => {
      const product = tf.mul(x, factor);
      return { value: shift ? tf.add(product, shift) : product, saved: [x, factor] };
    },
    (dy, [x, factor]) => [tf.mul(dy, factor), tf.mul(dy, x), shift && dy],
  );
}

/** The experts on their rows `[R, D]`. */
function runExperts(math: Products, rows: tf.Tensor, kind: FeedForwardExperts['kind'], weights: ExpertTensors, grouping: Rows): tf.Tensor {
  const numExperts = weights.up.shape[0];
  return customGradient(
    [rows, weights.up, weights.down, weights.upBias, weights.downBias],
    (inputs) => {
      const rows = math.round(inputs[0]);
      const [, up, down, upBias, downBias] = inputs;
      const { outputs, hidden } = expertRunner(kind, math, grouping, numExperts).forward(rows, { up, down, upBias, downBias });
      const value = outputs.length === 0 ? tf.zeros(rows.shape) : widen(joinRows(outputs));
      return { value, saved: [grouping.counts, rows, up, down, upBias, downBias, ...hidden] };
    },
    (dy, [counts, rows, up, down, upBias, downBias, ...hidden]) => {
      const runner = expertRunner(kind, math, { ...grouping, counts }, numExperts);
      const { dRows, grads } = runner.backward(dy, rows, hidden, { up, down, upBias, downBias });
      return [dRows.length === 0 ? tf.zerosLike(dy) : joinRows(dRows), grads.up, grads.down, grads.upBias, grads.downBias];
    },
  );
}

/** Shift, factor and gate of each row, `[R, D]`. */
function modulationTable(
  { shift, scale, gate }: ExpertModulation,
  rows: Rows,
  indices: tf.Tensor,
  numExperts: number,
  width: number,
): Record<'shift' | 'factor' | 'gate', tf.Tensor> {
  const batch = shift.shape[0];
  for (const part of [shift, scale, gate])
    if (part.shape.join() !== `${batch},${numExperts},${width}` || rows.tokens % batch !== 0)
      throw new ShapeError('experts: modulation', `[B, ${numExperts}, ${width}] with B a divisor of ${rows.tokens}`, part.shape);
  // Empty rows read the first cell: what they compute is read by nobody.
  const sequence = tf.floor(tf.div(tf.add(tf.cast(rows.tokenOfRow, 'float32'), 0.5), rows.tokens / batch));
  const flat = tf.concat([tf.reshape(toFloat(indices), [-1]), tf.tensor1d([0])]);
  const expert = gatherRows(flat, rows.slotOfRow);
  const filled = tf.cast(tf.less(rows.tokenOfRow, tf.scalar(rows.tokens, 'int32')), 'float32');
  const cell = tf.cast(tf.mul(tf.add(tf.mul(sequence, numExperts), expert), filled), 'int32');
  const ofRow = (x: tf.Tensor) => gatherRows(tf.reshape(x, [batch * numExperts, width]), cell);
  return { shift: ofRow(shift), factor: ofRow(tf.add(scale, 1)), gate: ofRow(gate) };
}
