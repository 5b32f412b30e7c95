/**
 * Evaluation during training: the same few images every N steps against the same reference.
 *
 * The values rise as the number of images falls (their bias is of order 1/N), so they are named by it and compare with each
 * other only; never with a FID of 50,000 images.
 */

import type { PixelBatches } from '@dit-moe/data';
import { accuracy } from './classifier/extractor.js';
import { MetricError } from './errors.js';
import { collectFeatures, type ExtractFeatures } from './feature-extractor.js';
import { type Features, selectRows } from './features.js';
import { frechetDistanceOf } from './frechet.js';
import { kernelDistance, randomSubsets } from './kernel-distance.js';
import { randomRows } from './random-rows.js';

/** What is evaluated during training. */
export interface OnlineEvaluationOptions<Name extends string> {
  /** Steps between evaluations. */
  every: number;
  /** Images per evaluation, such as 256. */
  count: number;
  /** Network whose features are compared, and which of its features; their names are in the result's. */
  extract: ExtractFeatures<Name>;
  feature: Name;
  /** Classes of the generated images; the network must give `logits` of the same classes (default: they are not judged). */
  labels?: readonly number[];
  /** Images at once (default 32). */
  batch?: number;
}

/** One evaluation. */
export interface OnlineEvaluationResult {
  step: number;
  /** Generated images. */
  count: number;
  /** Real images. */
  referenceCount: number;
  /** Frechet distance, of `count` images. */
  frechetDistance: number;
  /** The same for `count` real images against the others: what a perfect model would score; NaN if there are too few. */
  frechetDistanceOfReal: number;
  /** Kernel distance, whose expectation does not depend on the number of images. */
  kernelDistance: number;
  /** Share of generated images that the network tells to be of their class, if there are labels. */
  accuracy?: number;
  seconds: number;
  /** For logs, names with feature and number: `online/fd_pool_n256`, `online/kd_pool_n256`. */
  scalars: Record<string, number>;
  /** One line for people. */
  summary: string;
}

/** Decides when to evaluate, and evaluates. */
export interface OnlineEvaluation {
  /** Whether `step` is one after which to evaluate. */
  due(step: number): boolean;
  /**
   * Evaluates generated images.
   * @param sample gives `count` images; the same seeds every time make the curve smoother
   * @throws MetricError if it gives fewer
   */
  evaluate(step: number, sample: (count: number) => PixelBatches, signal?: AbortSignal): Promise<OnlineEvaluationResult>;
}

/** Subsets of the kernel distance; few, as it is only watched. */
const SUBSETS = 10;

/**
 * Prepares evaluation during training; the features of the real images are computed here, once.
 *
 * @param real all real images, or as many as shall count
 */
export async function onlineEvaluation<Name extends string>(
  real: PixelBatches,
  { every, count, extract, feature, labels, batch = 32 }: OnlineEvaluationOptions<Name>,
  signal?: AbortSignal,
): Promise<OnlineEvaluation> {
  for (const [name, value] of Object.entries({ every, count, batch }))
    if (!Number.isInteger(value) || value < (name === 'count' ? 2 : 1))
      throw new MetricError('onlineEvaluation', `"${name}" must be an integer of at least ${name === 'count' ? 2 : 1}, found ${value}.`);
  if (labels !== undefined && labels.length !== count)
    throw new MetricError('onlineEvaluation', `${count} images have ${labels.length} labels.`);
  const logits = 'logits' as Name;
  const collect = async (source: PixelBatches, keep: readonly Name[], signal?: AbortSignal, limit?: number) => {
    const { features } = await collectFeatures(source, extract, { batch, keep, moments: [], limit, signal });
    for (const name of keep)
      if (features[name] === undefined) throw new MetricError('onlineEvaluation', `the extractor gives no features named "${name}".`);
    return features as Record<Name, Features>;
  };
  const reference = (await collect(real, [feature], signal))[feature];
  const frechetDistanceOfReal = distanceOfReal(reference, count);
  return {
    due: (step) => step > 0 && step % every === 0,
    async evaluate(step, sample, signal) {
      const started = performance.now();
      const found = await collect(sample(count), labels === undefined ? [feature] : [feature, logits], signal, count);
      const generated = found[feature];
      if (generated.count < count)
        throw new MetricError('onlineEvaluation', `expected ${count} generated images, found ${generated.count}.`);
      const { distance } = frechetDistanceOf(reference, generated);
      const subsets = randomSubsets(reference.count, count, { subsets: SUBSETS });
      const kernel = kernelDistance(reference, generated, subsets).mean;
      const right = labels && accuracy(found[logits], labels);
      const floor = Number.isNaN(frechetDistanceOfReal) ? '' : ` (real images: ${frechetDistanceOfReal.toPrecision(3)})`;
      return {
        step,
        count,
        referenceCount: reference.count,
        frechetDistance: distance,
        frechetDistanceOfReal,
        kernelDistance: kernel,
        ...(right !== undefined && { accuracy: right }),
        seconds: (performance.now() - started) / 1000,
        scalars: {
          [`online/fd_${feature}_n${count}`]: distance,
          [`online/kd_${feature}_n${count}`]: kernel,
          ...(right !== undefined && { [`online/accuracy_n${count}`]: right }),
        },
        summary: `Frechet distance of ${count} images: ${distance.toPrecision(3)}${floor}${right === undefined ? '' : `, ${(100 * right).toFixed(1)} % told right`}; compare only with others of ${count} images`,
      };
    },
  };
}

function distanceOfReal(reference: Features, count: number): number {
  if (reference.count < count + 2) return Number.NaN;
  const order = randomRows(reference.count, reference.count, 0, 'online-real');
  return frechetDistanceOf(selectRows(reference, order.subarray(count)), selectRows(reference, order.subarray(0, count))).distance;
}
