/**
 * Gradients as a few flat tensors of about equal size, which travel better than hundreds of small ones: a collective has a price of its
 * own, and one that is too large leaves the cache and cannot overlap with the computation of the next (Li et al. 2020, PyTorch DDP).
 */
import * as tf from '@tensorflow/tfjs-core';
import { ArgumentError } from '../errors.js';

/** Some parameters as one flat tensor. */
export interface Bucket {
  /** Names of its parameters, in the order in which they lie in it. */
  readonly names: readonly string[];
  /** Numbers of its parameters, without the padding. */
  readonly length: number;
  /** `length` rounded up, so that every rank's shard has the same size. */
  readonly paddedLength: number;
}

/** Sizes of the buckets. */
export interface GradientBucketsOptions {
  /** Size at which a bucket is closed (default 4 MiB, where the ring on CPUs was fastest; NCCL likes 16 to 32). */
  bytes?: number;
  /** The padded length of a bucket is a multiple of this: the number of ranks (default 1). */
  multipleOf?: number;
}

const BYTES_PER_NUMBER = 4;

/** Cuts parameters into buckets; a parameter lies whole in one. */
export class GradientBuckets {
  readonly buckets: readonly Bucket[];

  /**
   * @param shapes of the parameters by name, in the order of the forward pass: buckets are filled from the last one on, whose gradient is
   *   ready first
   * @throws ArgumentError if `bytes` or `multipleOf` is not positive
   */
  constructor(
    readonly shapes: Readonly<Record<string, readonly number[]>>,
    { bytes = 4 * 2 ** 20, multipleOf = 1 }: GradientBucketsOptions = {},
  ) {
    for (const [name, value] of Object.entries({ bytes, multipleOf }))
      if (!(Number.isInteger(value) && value > 0)) throw new ArgumentError(`GradientBuckets.${name}`, 'a positive whole number', value);
    const buckets: Bucket[] = [];
    let names: string[] = [];
    let length = 0;
    const close = (): void => {
      if (names.length === 0) return;
      buckets.push({ names, length, paddedLength: Math.ceil(length / multipleOf) * multipleOf });
      names = [];
      length = 0;
    };
    for (const name of Object.keys(shapes).reverse()) {
      const size = tf.util.sizeFromShape([...shapes[name]]);
      if (length > 0 && (length + size) * BYTES_PER_NUMBER > bytes) close();
      names.push(name);
      length += size;
    }
    close();
    this.buckets = buckets;
  }

  /** Tensors by name as one flat tensor per bucket, `[paddedLength]` each. */
  flatten(tensors: Readonly<Record<string, tf.Tensor>>): tf.Tensor1D[] {
    return this.buckets.map((bucket) => this.flattenOne(bucket, (name) => tensors[name]));
  }

  /** A bucket as one flat tensor. */
  flattenOne({ names, length, paddedLength }: Bucket, tensorOf: (name: string) => tf.Tensor): tf.Tensor1D {
    return tf.tidy(() => {
      const parts = names.map((name) => tf.reshape(tensorOf(name), [-1]));
      if (paddedLength > length) parts.push(tf.zeros([paddedLength - length]));
      return (parts.length === 1 ? parts[0] : tf.concat(parts)) as tf.Tensor1D;
    });
  }

  /** What {@link flatten} has joined, by name again. */
  unflatten(flat: readonly tf.Tensor[]): Record<string, tf.Tensor> {
    return Object.assign({}, ...this.buckets.map((bucket, i) => this.unflattenOne(bucket, flat[i])));
  }

  /** What {@link flattenOne} has joined, by name again. */
  unflattenOne({ names, length, paddedLength }: Bucket, flat: tf.Tensor): Record<string, tf.Tensor> {
    return tf.tidy(() => {
      const sizes = names.map((name) => tf.util.sizeFromShape([...this.shapes[name]]));
      const parts = tf.split(flat, paddedLength > length ? [...sizes, paddedLength - length] : sizes);
      return Object.fromEntries(names.map((name, k) => [name, tf.reshape(parts[k], [...this.shapes[name]])]));
    });
  }
}
