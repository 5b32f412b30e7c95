/** Online metrics: a few samples with fixed seeds against real images, comparable within a run only. */

import type { Pixels } from '@dit-moe/data';
import { UsageError } from '@dit-moe/kit';
import {
  classifierExtractor,
  disposeInception,
  type FeatureExtractor,
  inceptionExtractor,
  loadInception,
  type OnlineEvaluation,
  onlineEvaluation,
  pixelExtractor,
} from '@dit-moe/metrics';
import { openClassifier } from '@dit-moe/metrics/node';
import type { ImageSpace, Pipeline } from '@dit-moe/pipeline';
import { openCheckpoint } from '@dit-moe/tensor-ops/io/node';
import * as tf from '@tensorflow/tfjs-core';
import type { TrainConfig } from '../config/schema.js';
import type { DataSource } from '../data/source.js';

/** Real images that are compared with; more make the reference steadier and the start slower. */
const REAL_IMAGES = 5_000;
/** Images at once. */
const BATCH = 64;

export interface Evaluator {
  /** Samples and compares; the signal ends it with its reason between steps of the solver. */
  evaluate(step: number, signal?: AbortSignal): Promise<{ scalars: Record<string, number>; summary: string }>;
  dispose(): void;
}

/**
 * Prepares the metrics of a run; the features of the real images are computed once.
 * @throws UsageError if the samples cannot be compared with images
 */
export async function openEvaluator(config: TrainConfig, pipeline: Pipeline, source: DataSource, signal?: AbortSignal): Promise<Evaluator> {
  const { every, samples } = config.evaluation!;
  if (!pipeline.space.faithful)
    throw new UsageError('Online metrics compare images: give the autoencoder of the latents, such as --set sampling.vae=sd-vae-ft-mse.');
  const extractor = await openExtractor(config.evaluation!, pipeline);
  const options = {
    ...{ every, count: samples, batch: BATCH, extract: extractor.extract, feature: 'pool' as const },
    ...(config.evaluation!.classifier !== undefined && { labels: labelsOf(samples, pipeline) }),
  };
  let online: OnlineEvaluation;
  try {
    online = await onlineEvaluation(realImages(source, pipeline.space), options, signal);
  } catch (error) {
    extractor.dispose();
    throw error;
  }
  return {
    async evaluate(step, signal) {
      const { scalars, summary } = await online.evaluate(step, (count) => generated(config, pipeline, count, signal), signal);
      return { scalars, summary };
    },
    dispose: () => extractor.dispose(),
  };
}

async function openExtractor(
  { inception, classifier }: NonNullable<TrainConfig['evaluation']>,
  { card }: Pipeline,
): Promise<Pick<FeatureExtractor<'pool'>, 'extract' | 'dispose'>> {
  if (classifier !== undefined) return openJudge(classifier, card.classNames);
  if (inception === undefined) return pixelExtractor();
  const file = await openCheckpoint(inception);
  const weights = await loadInception(file).finally(() => file.close());
  const extractor = inceptionExtractor(weights);
  return {
    extract: extractor.extract,
    dispose() {
      extractor.dispose();
      disposeInception(weights);
    },
  };
}

async function openJudge(file: string, classNames: readonly string[]) {
  const { weights, about } = await openClassifier(file);
  if (about.classNames.join('\n') !== classNames.join('\n')) {
    weights.dispose();
    throw new UsageError(`The classifier ${file} tells other classes than those of the data.`, {
      where: file,
      expected: classNames.join(', '),
      found: about.classNames.join(', '),
    });
  }
  const extractor = classifierExtractor(weights, about);
  return {
    extract: extractor.extract,
    dispose() {
      extractor.dispose();
      weights.dispose();
    },
  };
}

/** Classes take turns. */
const labelsOf = (count: number, { card }: Pipeline): number[] => Array.from({ length: count }, (_, i) => i % card.classNames.length);

/** Real images, evenly spread over the records. */
async function* realImages(source: DataSource, space: ImageSpace): AsyncGenerator<Pixels> {
  const count = Math.min(source.count, REAL_IMAGES);
  const length = source.channels * source.height * source.width;
  for (let start = 0; start < count; start += BATCH) {
    const n = Math.min(BATCH, count - start);
    const requests = Array.from({ length: n }, (_, i) => ({
      record: Math.floor(((start + i) * source.count) / count),
      flip: false,
      index: start + i,
    }));
    const out = new Float32Array(n * length);
    await source.read(requests, out);
    const x = tf.tensor(out, [n, source.channels, source.height, source.width]);
    yield await space.decode(x).finally(() => x.dispose());
  }
}

async function* generated(config: TrainConfig, pipeline: Pipeline, count: number, signal: AbortSignal | undefined): AsyncGenerator<Pixels> {
  const { solver, steps, guidance } = config.sampling;
  const labels = labelsOf(count, pipeline);
  // Other numbers than the previews', which come from the start of the same seed's sequence.
  yield await pipeline.sample({ labels, seed: config.seed, first: 2 ** 32, solver, steps, guidance, signal });
}
