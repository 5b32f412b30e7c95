/**
 * The held-out loss of a run: what its average makes of images that training never sees.
 *
 * The triples (image, time, noise) depend on the data and on the settings `validation` alone, not on the model, its objective's way of
 * drawing times, the size of a batch, the run's seed or the number of processes: losses of the same objective can be compared between
 * steps, runs and models. Times are spread evenly over equal parts of their range, as Esser et al. 2024 (section 5.2) compare models by
 * losses at evenly spaced times.
 */
import { type ObjectiveOptions, objective } from '@dit-moe/diffusion';
import type { TrainedDit } from '@dit-moe/dit';
import { compile, normalRows, uniformRows } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { objectiveOptions, timeRange } from '../config/resolve.js';
import type { TrainConfig } from '../config/schema.js';
import type { DataSource } from '../data/source.js';

/** Images at once; a constant, so that the loss does not depend on the batch of training even in its last bit. */
const BATCH = 64;

/** What was measured at one step. */
export interface ValidationLoss {
  /** Mean over all times alike. */
  loss: number;
  /** Means over equal parts of the times, from clean images to noise. */
  byTime: number[];
}

/** One held-out image at one time; its noise is that of its number. */
interface Triple {
  record: number;
  bucket: number;
}

/** Triple number `k` of `samples`: buckets take turns, and every image comes to every bucket. */
export function tripleOf(k: number, { samples, buckets }: { samples: number; buckets: number }, count: number): Triple {
  // Evenly spread, where there are more images than are asked for.
  const images = Math.min(count, samples);
  const cycle = (images * buckets) / greatestDivisor(images, buckets);
  const image = (k + Math.floor(k / cycle)) % images;
  return { record: Math.floor((image * count) / images), bucket: k % buckets };
}

const greatestDivisor = (a: number, b: number): number => (b === 0 ? a : greatestDivisor(b, a % b));

/** The objective with all times alike, however training draws them. */
const withAllTimesAlike = (options: ObjectiveOptions): ObjectiveOptions =>
  options.kind === 'flow' ? { ...options, times: { distribution: 'uniform' } } : { ...options, timesteps: 'uniform' };

export interface Validation {
  /** The signal ends it with its reason, between batches. */
  measure(signal?: AbortSignal): Promise<ValidationLoss>;
  dispose(): void;
}

/**
 * @param model of the averages, as they are whenever it is asked
 * @param source held-out images; stays the caller's
 */
export function validationOf(config: TrainConfig, model: TrainedDit, source: DataSource): Validation {
  const { seed, samples, buckets } = config.validation!;
  const { objective: trained } = config;
  const aim = objective(withAllTimesAlike(objectiveOptions(trained)));
  const { channels, height, width } = source;
  const length = channels * height * width;
  const step = compile(
    (x: tf.Tensor, noise: tf.Tensor, drawn: tf.Tensor, y: tf.Tensor): tf.Tensor => {
      const { x: noisy, t } = aim.noisy(x, noise, drawn);
      return aim.losses(model.apply(noisy, t, y).output, x, noise, drawn).loss;
    },
    { name: 'validation' },
  );
  /** Losses of triples `start` to `end - 1`. */
  const losses = async (start: number, end: number): Promise<Float32Array> => {
    const indices = Array.from({ length: end - start }, (_, i) => start + i);
    const triples = indices.map((k) => tripleOf(k, { samples, buckets }, source.count));
    const x = new Float32Array(indices.length * length);
    const labels = await source.read(
      indices.map((index, i) => ({ record: triples[i].record, flip: false, index })),
      x,
    );
    const within = uniformRows({ seed, purpose: 'validation-time', indices }, 1);
    const times = triples.map(({ bucket }, i) => (bucket + within[i]) / buckets);
    const shape = [indices.length, channels, height, width];
    const inputs: [tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor] = [
      tf.tensor(x, shape),
      tf.tensor(normalRows({ seed, purpose: 'validation-noise', indices }, length), shape),
      trained.kind === 'flow'
        ? tf.tensor1d(times, 'float32')
        : tf.tensor1d(
            times.map((t) => Math.floor(t * timeRange(trained))),
            'int32',
          ),
      tf.tensor1d(labels, 'int32'),
    ];
    const result = await step.run(...inputs).finally(() => tf.dispose(inputs));
    const values = (await result.data()) as Float32Array;
    result.dispose();
    return values;
  };
  return {
    async measure(signal) {
      const sums = Array<number>(buckets).fill(0);
      const counts = Array<number>(buckets).fill(0);
      for (let start = 0; start < samples; start += BATCH) {
        signal?.throwIfAborted();
        for (const [i, loss] of (await losses(start, Math.min(samples, start + BATCH))).entries()) {
          const { bucket } = tripleOf(start + i, { samples, buckets }, source.count);
          sums[bucket] += loss;
          counts[bucket]++;
        }
      }
      const byTime = sums.map((sum, b) => sum / counts[b]);
      return { loss: byTime.reduce((a, b) => a + b) / buckets, byTime };
    },
    dispose: () => step.dispose(),
  };
}

/** Bounds of a part of the times, as shares of their range: `0.25-0.5`. */
export const bucketName = (bucket: number, buckets: number): string =>
  [bucket, bucket + 1].map((n) => Number((n / buckets).toFixed(3))).join('-');
