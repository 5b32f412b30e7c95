/**
 * Experts shared out over ranks (GShard, arXiv 2006.16668): rows travel to the ranks that hold their experts, and the results come back.
 * Every rank sends equally many rows to each expert, so that all shapes are fixed.
 */
import { ArgumentError, type Collectives } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import type { Grouping } from '../dispatch/grouping.js';

/** Carries rows between the ranks on which their tokens and their experts are. */
export interface ExpertExchange {
  /** Rows of this rank for all experts, `[E C, D]`, become the rows of all ranks for this rank's experts, `[E / n, n C, D]` flat. */
  toOwners(rows: tf.Tensor): tf.Tensor;
  /** The way back. */
  fromOwners(results: tf.Tensor): tf.Tensor;
}

/**
 * @param numExperts all experts, on the ranks in equal parts
 * @throws ArgumentError if rows are not laid out in fixed numbers
 */
export function expertExchange(ranks: Collectives, numExperts: number, { layout }: Pick<Grouping, 'layout'>): ExpertExchange {
  const { size } = ranks;
  if (size === 1) return { toOwners: (rows) => rows, fromOwners: (results) => results };
  if (layout !== 'batch') throw new ArgumentError('experts: expertRanks', 'the dispatcher capacity({ perExpert })', layout);
  const own = numExperts / size;
  /** `[a, b, .]` -> `[b, a, .]` */
  const swapped = (x: tf.Tensor, a: number, b: number): tf.Tensor => tf.transpose(tf.reshape(x, [a, b, -1]), [1, 0, 2]);
  return {
    toOwners(rows) {
      const arrived = ranks.allToAll(tf.reshape(rows, [size, -1])); // row r: what rank r sends to this rank's experts
      return tf.reshape(swapped(arrived, size, own), rows.shape);
    },
    fromOwners(results) {
      const back = ranks.allToAll(tf.reshape(swapped(results, own, size), [size, -1]));
      return tf.reshape(back, results.shape);
    },
  };
}
