/**
 * Means over the ranks of a cluster, inside a compiled step: of gradients, in flat buckets that start to travel as soon as their gradients
 * exist, and of a few numbers. The results are the same bits on every rank, so that all decide alike.
 */
import * as tf from '@tensorflow/tfjs-core';
import { halfSquares } from '../optim/clip.js';
import type { Collectives } from './collectives.js';
import { GradientBuckets, type GradientBucketsOptions } from './gradient-buckets.js';

export class RankMean {
  readonly buckets: GradientBuckets;

  /** @param shapes of the parameters by name, in the order of the forward pass */
  constructor(
    readonly collectives: Collectives,
    shapes: Readonly<Record<string, readonly number[]>>,
    options: Omit<GradientBucketsOptions, 'multipleOf'> = {},
  ) {
    this.buckets = new GradientBuckets(shapes, { ...options, multipleOf: collectives.size });
  }

  /** Scalars by name, averaged in one collective. */
  numbers<T extends Record<string, tf.Tensor>>(scalars: T): T {
    const names = Object.keys(scalars);
    return tf.tidy(() => {
      const sums = this.collectives.allReduce(tf.stack(names.map((name) => scalars[name])));
      const means = tf.unstack(tf.mul(sums, 1 / this.collectives.size));
      return Object.fromEntries(names.map((name, i) => [name, means[i]])) as T;
    });
  }

  /**
   * Gradients by name, averaged, and the norm of the means.
   *
   * The norm adds the squares rank by rank of the shards that each would hold, so that it has the same bits when only shards exist.
   */
  gradients(grads: Readonly<Record<string, tf.Tensor>>): { grads: Record<string, tf.Tensor>; norm: tf.Tensor } {
    return tf.tidy(() => {
      const { size } = this.collectives;
      const flat = this.buckets.flatten(grads).map((bucket) => tf.mul(this.collectives.allReduce(bucket), 1 / size));
      const squares = Array.from({ length: size }, (_, rank) => halfSquares(flat.map((bucket) => shardOf(bucket, rank, size))));
      return {
        grads: this.buckets.unflatten(flat),
        norm: tf.sqrt(
          tf.mul(
            squares.reduce((a, b) => tf.add(a, b)),
            2,
          ),
        ),
      };
    });
  }

  /** Gradients by name as this rank's shards of the averaged buckets, `[paddedLength / size]` each. */
  shards(grads: Readonly<Record<string, tf.Tensor>>): tf.Tensor[] {
    return tf.tidy(() => {
      const { collectives } = this;
      return this.buckets.flatten(grads).map((bucket) => tf.mul(collectives.reduceScatter(bucket), 1 / collectives.size));
    });
  }

  /** Norm of the whole of which each rank holds its shards. */
  normOfShards(shards: readonly tf.Tensor[]): tf.Tensor {
    return tf.tidy(() => tf.sqrt(tf.mul(this.collectives.allReduce(halfSquares(shards)), 2)));
  }
}

/** A rank's part of a flat bucket. */
export function shardOf(bucket: tf.Tensor, rank: number, size: number): tf.Tensor {
  const length = bucket.shape[0] / size;
  return tf.slice(bucket, rank * length, length);
}
