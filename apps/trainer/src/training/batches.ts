/**
 * Batches as pure functions of (seed, position): records in a keyed permutation per epoch, noise, times and label dropout by global
 * sample index. So a resumed run sees what the uninterrupted one would have seen, whatever the split into micro-batches.
 * Times that are drawn by the losses so far depend on these, too; checkpoints hold them.
 */
import type { Objective } from '@dit-moe/diffusion';
import { type DitConfig, drawRouterNoise, dropLabels } from '@dit-moe/dit';
import { normalRows, type PermutationKey, permutation, uniformRows } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import type { DataSource } from '../data/source.js';

/** Inputs of a training step in host memory. */
export interface HostBatch {
  size: number;
  /** Global index of the first sample. */
  start: number;
  /** `[B, C, H, W]` */
  x: Float32Array;
  noise: Float32Array;
  /** Labels after dropout, `[B]`. */
  y: Int32Array;
}

/** Inputs of a training step on the device. */
export interface Batch {
  x: tf.Tensor;
  noise: tf.Tensor;
  /** What the objective makes times of, `[B]`, or `[B, 2]` if it draws them by their losses. */
  drawn: tf.Tensor;
  y: tf.Tensor;
  /** Noise of the routers, of each block with experts its parts (default: none). */
  routerNoise?: tf.Tensor[];
}

export interface BatchOptions {
  seed: number;
  /** Share of labels replaced by the null label. */
  labelDropout: number;
  /** Tells the null label. */
  model: Pick<DitConfig, 'numClasses' | 'nullLabel'>;
  /** Mirror half of the samples. */
  flip: boolean;
}

/** Makes the batches of one run. */
export class BatchMaker {
  private epoch = -1;
  private order: (position: number) => number = () => 0;

  constructor(
    private readonly source: DataSource,
    private readonly options: BatchOptions,
  ) {}

  /** The samples number `start` to `start + size - 1` of the run, counted over all epochs. */
  async make(start: number, size: number): Promise<HostBatch> {
    const { source, options } = this;
    const { seed, labelDropout, flip, model } = options;
    const length = source.channels * source.height * source.width;
    const indices = Array.from({ length: size }, (_, b) => start + b);
    const uniforms = (purpose: string): Float32Array => uniformRows({ seed, purpose, indices }, 1);
    const flips = flip ? uniforms('flip') : undefined;
    const requests = indices.map((index, b) => ({ record: this.recordAt(index), index, flip: flips !== undefined && flips[b] < 0.5 }));
    const x = new Float32Array(size * length);
    const noise = normalRows({ seed, purpose: 'noise', indices }, length);
    const dropped = uniforms('label-dropout');
    const y = dropLabels(model, await source.read(requests, x), dropped, labelDropout);
    return { size, start, x, noise, y };
  }

  private recordAt(index: number): number {
    const { count } = this.source;
    const epoch = Math.floor(index / count);
    if (epoch !== this.epoch) {
      const key: PermutationKey = { seed: this.options.seed, purpose: 'order', epoch };
      this.order = permutation(key, count);
      this.epoch = epoch;
    }
    return this.order(index % count);
  }
}

/** Copies a batch to the device and draws its times and the noise of the model's routers. */
export function upload(
  batch: HostBatch,
  source: Pick<DataSource, 'channels' | 'height' | 'width'>,
  { objective, model }: { objective: Objective; model: DitConfig },
  seed: number,
): Batch {
  const shape = [batch.size, source.channels, source.height, source.width];
  const indices = Array.from({ length: batch.size }, (_, b) => batch.start + b);
  return {
    x: tf.tensor(batch.x, shape),
    noise: tf.tensor(batch.noise, shape),
    drawn: objective.draw({ seed, purpose: 'time', indices }),
    y: tf.tensor1d(batch.y, 'int32'),
    routerNoise: drawRouterNoise(model, { seed, indices }).flatMap((noise) => Object.values(noise) as tf.Tensor[]),
  };
}
