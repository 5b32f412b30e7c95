/**
 * Means over the ranks of a cluster, inside a compiled step: of gradients, in flat buckets that start to travel as soon as their gradients
 * exist, and of a few numbers. The results are the same bits on every rank, so that all decide alike.
 */
import * as tf from '@tensorflow/tfjs-core';
import { halfSquares } from '../optim/clip.js';
import type { Collectives } from './collectives.js';
import { GradientBuckets, type GradientBucketsOptions } from './gradient-buckets.js';

/** How means over the ranks are made. */
export interface RankMeanOptions extends Omit<GradientBucketsOptions, 'multipleOf'> {
  /** What sums over the ranks are multiplied by (default 1 / their number). */
  share?: number;
}

/** Means over the ranks of a cluster, of numbers and of gradients. */
export class RankMean {
  readonly buckets: GradientBuckets;
  private readonly share: number;

  /** @param shapes of the parameters by name, in the order of the forward pass */
  constructor(
    readonly collectives: Collectives,
    shapes: Readonly<Record<string, readonly number[]>>,
    { share = 1 / collectives.size, ...options }: RankMeanOptions = {},
  ) {
    this.share = share;
    this.buckets = new GradientBuckets(shapes, { ...options, multipleOf: collectives.size });
  }

  /** Scalars by name, averaged in one collective. */
  numbers<T extends Record<string, tf.Tensor>>(scalars: T): T {
    const names = Object.keys(scalars);
    return tf.tidy(() => {
      const sums = this.collectives.allReduce(tf.stack(names.map((name) => scalars[name])));
      const means = tf.unstack(tf.mul(sums, this.share));
      return Object.fromEntries(names.map((name, i) => [name, means[i]])) as T;
    });
  }

  /**
   * Gradients by name, averaged, and half the sum of the squares of the means.
   *
   * The squares are added rank by rank of the shards that each would hold, so that the sum has the same bits when only shards exist.
   */
  gradients(grads: Readonly<Record<string, tf.Tensor>>): { grads: Record<string, tf.Tensor>; squares: tf.Tensor } {
    return tf.tidy(() => {
      const { collectives, share } = this;
      const { size } = collectives;
      if (size === 1) {
        const means = Object.fromEntries(Object.entries(grads).map(([name, grad]) => [name, tf.mul(grad, share)]));
        return { grads: means, squares: halfSquares(Object.values(means)) };
      }
      const flat = this.buckets.flatten(grads).map((bucket) => tf.mul(collectives.allReduce(bucket), share));
      const squares = Array.from({ length: size }, (_, rank) => halfSquares(flat.map((bucket) => shardOf(bucket, rank, size))));
      return { grads: this.buckets.unflatten(flat), squares: squares.reduce((a, b) => tf.add(a, b)) };
    });
  }

  /** Gradients by name as this rank's shards of the averaged buckets, `[paddedLength / size]` each. */
  shards(grads: Readonly<Record<string, tf.Tensor>>): tf.Tensor[] {
    return tf.tidy(() => this.buckets.flatten(grads).map((bucket) => tf.mul(this.collectives.reduceScatter(bucket), this.share)));
  }

  /** Half the sum of the squares of the whole of which each rank holds its shards. */
  squaresOfShards(shards: readonly tf.Tensor[]): tf.Tensor {
    return tf.tidy(() => this.collectives.allReduce(halfSquares(shards)));
  }
}

/** A rank's part of a flat bucket. */
export function shardOf(bucket: tf.Tensor, rank: number, size: number): tf.Tensor {
  const length = bucket.shape[0] / size;
  return tf.slice(bucket, rank * length, length);
}
