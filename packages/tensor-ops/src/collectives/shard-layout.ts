/**
 * State shared out over the ranks (ZeRO: Rajbhandari et al. 2020): every rank holds one part of every flat bucket. What works elementwise,
 * such as AdamW and Ema, takes these parts as its parameters.
 */
import * as tf from '@tensorflow/tfjs-core';
import { type CompiledStep, compile } from '../compile.js';
import { Parameter } from '../parameter.js';
import { WeightsError, type WeightValues } from '../parameter-set.js';
import type { Collectives } from './collectives.js';
import type { GradientBuckets } from './gradient-buckets.js';
import { shardOf } from './rank-mean.js';

/** Where a tensor lies: in which bucket, from which number on, how many. */
interface Place {
  bucket: number;
  start: number;
  size: number;
}

/** Which part of which bucket a rank holds. */
export class ShardLayout {
  private readonly places = new Map<string, Place>();
  private readonly gathers: CompiledStep<[tf.Tensor], tf.Tensor>[] = [];
  /** Names of the parts, one for each bucket. */
  readonly names: readonly string[];

  /**
   * @param buckets padded to a multiple of the number of ranks
   * @param prefix of the parts' names (default `shard`)
   */
  constructor(
    private readonly collectives: Collectives,
    private readonly buckets: GradientBuckets,
    prefix = 'shard',
  ) {
    this.names = buckets.buckets.map((_, i) => `${prefix}.${i}`);
    buckets.buckets.forEach(({ names }, bucket) => {
      let start = 0;
      for (const name of names) {
        const size = tf.util.sizeFromShape([...buckets.shapes[name]]);
        this.places.set(name, { bucket, start, size });
        start += size;
      }
    });
  }

  /** Names of the whole tensors, in the order in which {@link read} gives them. */
  get tensorNames(): string[] {
    return [...this.places.keys()];
  }

  /** Tensors in the order of the buckets, such as shards of gradients, by the names that the parts have here. */
  named<T>(parts: readonly T[]): Record<string, T> {
    return Object.fromEntries(parts.map((part, i) => [this.names[i], part]));
  }

  /** This rank's parts of whole tensors by name, `[paddedLength / size]` each. */
  slice(tensors: Readonly<Record<string, tf.Tensor>>): Record<string, tf.Tensor> {
    const { rank, size } = this.collectives;
    return tf.tidy(() => this.named(this.buckets.flatten(tensors).map((flat) => shardOf(flat, rank, size))));
  }

  /** Whole tensors by name from every rank's parts; a collective for each bucket. */
  join(parts: Readonly<Record<string, tf.Tensor>>): Record<string, tf.Tensor> {
    return tf.tidy(() => this.buckets.unflatten(this.buckets.buckets.map((_, i) => this.collectives.allGather(parts[this.names[i]]))));
  }

  /** Parameters for this rank's parts, with the values of whole ones. */
  create(parameters: Readonly<Record<string, Parameter>>): Record<string, Parameter> {
    const { size } = this.collectives;
    const parts = this.named(this.buckets.buckets.map(({ paddedLength }, i) => new Parameter(this.names[i], [paddedLength / size])));
    this.assign(parts, parameters);
    return parts;
  }

  /** Puts this rank's parts of whole parameters into those that {@link create} made, one bucket at a time. */
  assign(parts: Readonly<Record<string, Parameter>>, parameters: Readonly<Record<string, Parameter>>): void {
    const { rank, size } = this.collectives;
    this.buckets.buckets.forEach((bucket, i) => {
      tf.tidy(() => parts[this.names[i]].assign(shardOf(this.buckets.flattenOne(bucket, read(parameters)), rank, size)));
    });
  }

  /**
   * Whole tensors from every rank's parts, one bucket on the device at a time. Every rank reads to the end.
   * @param guard runs the collective of a bucket
   */
  async *read(
    parts: Readonly<Record<string, Parameter>>,
    guard: (run: () => Promise<tf.Tensor>) => Promise<tf.Tensor> = (run) => run(),
  ): AsyncGenerator<Record<string, tf.Tensor>> {
    for (const [i, bucket] of this.buckets.buckets.entries()) {
      this.gathers[i] ??= compile((part: tf.Tensor) => this.collectives.allGather(part), { name: 'gather' });
      const part = parts[this.names[i]].read();
      const flat = await guard(() => this.gathers[i].run(part));
      const tensors = this.buckets.unflattenOne(bucket, flat);
      tf.dispose([part, flat]);
      try {
        yield tensors;
      } finally {
        tf.dispose(tensors);
      }
    }
  }

  /**
   * Fills this rank's parts from whole tensors as they come. Those of one bucket should follow each other: buckets that are not complete
   * wait on the host.
   * @throws WeightsError if one is not of this layout or is missing at the end
   */
  async load(parts: Readonly<Record<string, Parameter>>, values: WeightValues): Promise<void> {
    const { buckets } = this.buckets;
    const open = new Map<number, { numbers: Float32Array; missing: number }>();
    const missing = new Set(this.places.keys());
    for await (const [name, { data }] of values) {
      const place = this.places.get(name);
      if (place === undefined || !missing.delete(name) || data.length !== place.size)
        throw new WeightsError(`${name} with ${data.length} values is none of the weights that are still missing.`, { where: name });
      const { bucket: i } = place;
      const length = buckets[i].paddedLength / this.collectives.size;
      const bucket = open.get(i) ?? { numbers: new Float32Array(length), missing: buckets[i].names.length };
      const from = place.start - this.collectives.rank * length;
      const [first, end] = [Math.max(0, -from), Math.min(data.length, length - from)];
      if (first < end) bucket.numbers.set(data.subarray(first, end), from + first);
      bucket.missing--;
      open.set(i, bucket);
      if (bucket.missing > 0) continue;
      open.delete(i);
      tf.tidy(() => parts[this.names[i]].assign(tf.tensor1d(bucket.numbers)));
    }
    if (missing.size > 0)
      throw new WeightsError(`${missing.size} weights are missing, ${[...missing][0]} first.`, { where: [...missing][0] });
  }

  /** Frees the recorded steps. */
  dispose(): void {
    for (const step of this.gathers) step?.dispose();
  }
}

/** Reads a parameter when it is asked for. */
const read =
  (parameters: Readonly<Record<string, Parameter>>) =>
  (name: string): tf.Tensor =>
    parameters[name].read();
