/** From tokens to rows and back, each with a gradient that consists of gathers. */
import { castLike, customGradient, firstColumns, joinRows, reshapeRows, rowCount, takeRows, tensorFlowBackend } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import type { Grouping } from './grouping.js';

/** A grouping with what follows from it. */
export interface Rows extends Grouping {
  tokens: number;
  /** Slots of a token. */
  slots: number;
  /** Token of each row: int32 `[R]`; `N` for an empty row. */
  tokenOfRow: tf.Tensor;
}

export function rowsOf(grouping: Grouping, tokens: number, slots: number): Rows {
  // The half keeps the quotient of multiples of `slots` from being rounded down.
  const token = tf.floor(tf.div(tf.add(tf.cast(grouping.slotOfRow, 'float32'), 0.5), slots));
  return { ...grouping, tokens, slots, tokenOfRow: tf.cast(token, 'int32') };
}

const indexNames = ['slotOfRow', 'rowOfSlot', 'counts', 'tokenOfRow'] as const;

/** The tensors of `rows`: what a gradient uses has to be saved with it, or it is freed after the forward pass. */
const rowTensors = (rows: Rows): tf.Tensor[] => indexNames.map((name) => rows[name]);

/** `rows` with its tensors replaced by saved ones. */
const withRowTensors = (rows: Rows, tensors: readonly tf.Tensor[]): Rows => ({
  ...rows,
  ...Object.fromEntries(indexNames.map((name, i) => [name, tensors[i]])),
});

/** `x` with a row of zeros behind it, where empty places point. */
function withZero(x: tf.Tensor, full: boolean): tf.Tensor {
  if (full) return x;
  const zero = tf.zeros([1, ...x.shape.slice(1)]);
  return joinRows([x, castLike(zero, x)]);
}

/** What is said of each token in the order of the rows, off the gradient tape; of empty rows zero. */
export const inRows = (x: tf.Tensor, rows: Rows): tf.Tensor => takeRows(withZero(x, rows.rowsFull), rows.tokenOfRow);

/**
 * The tokens in the order of the rows; empty rows are zero.
 *
 * @param round what the tokens become first
 */
export function toRows(x: tf.Tensor, rows: Rows, round: (x: tf.Tensor) => tf.Tensor): tf.Tensor {
  return customGradient(
    [x],
    ([x]) => ({ value: inRows(round(x), rows), saved: rowTensors(rows) }),
    (dRows, saved) => {
      const { index, columns } = slotColumns(withRowTensors(rows, saved));
      const ofSlot = takeRows(withZero(dRows, rows.slotsFull), index);
      return [tf.sum(reshapeRows(ofSlot, [rows.tokens, columns, x.shape[1]!]), 1)];
    },
  );
}

/**
 * The sum of each token's results by weight.
 *
 * @param results `[R, D]`
 * @param weights `[N, m]`
 * @returns `[N, D]`
 */
export function combine(results: tf.Tensor, weights: tf.Tensor, rows: Rows): tf.Tensor {
  const width = results.shape[1]!;
  return customGradient(
    [results, weights],
    ([results, weights]) => {
      const { index, columns, slot } = slotColumns(rows);
      const ofSlot = reshapeRows(takeRows(withZero(results, rows.slotsFull), index), [rows.tokens, columns, width]);
      const weight =
        slot === undefined ? tf.expandDims(weights, 2) : reshapeRows(takeRows(tf.reshape(weights, [-1]), slot), [rows.tokens, columns, 1]);
      return { value: tf.sum(tf.mul(ofSlot, weight), 1), saved: [results, weights, ...rowTensors(rows)] };
    },
    (dy, [results, weights, ...indices]) => {
      const { tokenOfRow, slotOfRow, rowOfSlot } = withRowTensors(rows, indices);
      const dOfRow = takeRows(withZero(dy, rows.rowsFull), tokenOfRow); // [R, D]
      const weightOfRow = takeRows(withZero(tf.reshape(weights, [-1, 1]), rows.rowsFull), slotOfRow); // [R, 1]
      const dWeightOfRow = tf.sum(tf.mul(results, dOfRow), 1, true); // [R, 1]
      const dWeights = takeRows(withZero(dWeightOfRow, rows.slotsFull), rowOfSlot);
      return [tf.mul(dOfRow, weightOfRow), tf.reshape(dWeights, weights.shape)];
    },
  );
}

/**
 * Where a token's results are: flat row indices of `columns` columns (-1: as many as the busiest token needs), and which slots they
 * belong to if not all in order. With up to E slots per token most are empty; on the TensorFlow runtime only as many columns are
 * gathered as some token fills.
 */
function slotColumns(rows: Rows): { index: tf.Tensor; columns: number; slot?: tf.Tensor } {
  const { rowOfSlot, tokens, slots } = rows;
  if (tensorFlowBackend() === undefined || rows.slotsFull || slots < 3) return { index: rowOfSlot, columns: slots };
  const row = tf.reshape(tf.cast(rowOfSlot, 'float32'), [tokens, slots]);
  const { values, indices } = tf.topk(tf.neg(row), slots, true); // filled slots first
  const none = rowCount(rows.slotOfRow);
  const filled = tf.sum(tf.cast(tf.less(row, none), 'float32'), 1);
  const columns = tf.cast(tf.maximum(tf.max(filled), 1), 'int32');
  // GPUs reshape int32 in host memory, float32 where it lies.
  const cut = (x: tf.Tensor): tf.Tensor => tf.cast(reshapeRows(firstColumns(x, columns), [-1]), 'int32');
  const firstSlot = tf.mul(tf.expandDims(tf.range(0, tokens), 1), slots);
  return { index: cut(tf.neg(values)), columns: -1, slot: cut(tf.add(tf.cast(indices, 'float32'), firstSlot)) };
}
