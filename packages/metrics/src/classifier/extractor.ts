/** The judge as features for the metrics, and what it says of images with labels. */
import { compile, type ParameterSet } from '@dit-moe/tensor-ops';
import type * as tf from '@tensorflow/tfjs-core';
import { MetricError } from '../errors.js';
import type { FeatureExtractor } from '../feature-extractor.js';
import type { Features } from '../features.js';
import { type ClassifierConfig, classify } from './architecture.js';

/** An extractor of the judge's features (`pool`, 128 of them) and `logits`. The weights stay the caller's. */
export function classifierExtractor(weights: ParameterSet, config: ClassifierConfig): FeatureExtractor<'pool' | 'logits'> {
  const { size, classNames } = config;
  const step = compile((images: tf.Tensor) => ({ ...classify(weights.read(), config, images) }), { name: 'classifier' });
  return {
    description: `classifier of ${classNames.length} classes at ${size} x ${size}`,
    async extract(images) {
      if (images.shape[1] !== size || images.shape[2] !== size || images.shape[3] !== 3)
        throw new MetricError('classifierExtractor', `expected images [B, ${size}, ${size}, 3], found [${images.shape}].`);
      return (await step.run(images)) as unknown as Record<'pool' | 'logits', tf.Tensor2D>;
    },
    dispose: () => step.dispose(),
  };
}

/**
 * Share of rows whose largest logit is their label.
 * @throws MetricError if there are not as many labels as rows
 */
export function accuracy({ count, dimension, data }: Features, labels: ArrayLike<number>): number {
  if (labels.length !== count) throw new MetricError('accuracy', `${count} rows have ${labels.length} labels.`);
  let right = 0;
  for (let i = 0; i < count; i++) {
    const row = data.subarray(i * dimension, (i + 1) * dimension);
    if (row.indexOf(Math.max(...row)) === labels[i]) right++;
  }
  return right / count;
}
