/**
 * What the processes of a cluster compute together. Portable: a single process is a cluster of one, whose collectives give their input.
 *
 * Every rank runs the same program, so every rank calls the same collectives in the same order with the same shapes. Nothing that only
 * one rank does may contain one: the others would wait for ever.
 */
import * as tf from '@tensorflow/tfjs-core';

/** What is made of the values of all ranks. */
export type Reduction = 'sum' | 'max' | 'min';

/** What the processes of a cluster compute together; inside compiled steps, too. */
export interface Collectives {
  /** This process, from 0. */
  readonly rank: number;
  /** Number of processes. */
  readonly size: number;
  /** The elementwise sum (default), greatest or least of `x` over all ranks, the same bits on each. `[...]` -> `[...]`. */
  allReduce(x: tf.Tensor, reduction?: Reduction): tf.Tensor;
  /** The sum over all ranks, of which each gets its part: `[size k, ...]` -> `[k, ...]`. */
  reduceScatter(x: tf.Tensor): tf.Tensor;
  /** Every rank's `x`, one after another in the order of ranks: `[k, ...]` -> `[size k, ...]`. */
  allGather(x: tf.Tensor): tf.Tensor;
  /** Row r goes to rank r, and row r of the result comes from rank r: `[size, ...]` -> `[size, ...]`. Differentiable. */
  allToAll(x: tf.Tensor): tf.Tensor;
  /**
   * The same among some of the ranks, this one included; rank and size are counted among them. Every rank of the cluster asks for its
   * group at the same place of the program.
   * @param ranks of this group, ascending, counted in this one
   */
  group(ranks: readonly number[]): Collectives;
}

/** One process: every collective gives a copy of its input. */
export const alone: Collectives = {
  rank: 0,
  size: 1,
  allReduce: (x) => tf.clone(x),
  reduceScatter: (x) => tf.clone(x),
  allGather: (x) => tf.clone(x),
  allToAll: (x) => tf.clone(x),
  group: () => alone,
};
