/** The judge as features for the metrics, and what it says of images with labels. */
import { centerCrop, joinPixels, pictureOf } from '@dit-moe/data';
import { compile, type ParameterSet } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { MetricError } from '../errors.js';
import type { FeatureExtractor } from '../feature-extractor.js';
import type { Features } from '../features.js';
import { type ClassifierConfig, classify } from './architecture.js';

/**
 * An extractor of the judge's features (`pool`, 128 of them) and `logits`. The weights stay the caller's.
 *
 * Larger pictures are seen as its training saw them: the central square, shrunk as for the training of models. Smaller ones are refused,
 * because the judge has never seen what enlarging leaves of a picture.
 */
export function classifierExtractor(weights: ParameterSet, config: ClassifierConfig): FeatureExtractor<'pool' | 'logits'> {
  const { size, classNames } = config;
  const step = compile((images: tf.Tensor) => ({ ...classify(weights.read(), config, images) }), { name: 'classifier' });
  return {
    description: `classifier of ${classNames.length} classes at ${size} x ${size}, which larger pictures are cropped and shrunk to`,
    async extract(images) {
      const [, height, width, channels] = images.shape;
      if (channels !== 3) throw new MetricError('classifierExtractor', `expected images [B, H, W, 3], found [${images.shape}].`);
      if (Math.min(height, width) < size)
        throw new MetricError(
          'classifier',
          `pictures of ${width} x ${height} are smaller than its ${size} x ${size}. Train one for them: train-classifier IMAGES --size ${Math.min(height, width)}.`,
        );
      const seen = height === size && width === size ? images : await shrunk(images, size);
      try {
        return (await step.run(seen)) as unknown as Record<'pool' | 'logits', tf.Tensor2D>;
      } finally {
        if (seen !== images) seen.dispose();
      }
    },
    dispose: () => step.dispose(),
  };
}

/** The central squares, in 8 bits. */
async function shrunk(images: tf.Tensor4D, size: number): Promise<tf.Tensor4D> {
  const [count, height, width] = images.shape;
  const data = Uint8Array.from(await images.data());
  const length = data.length / count;
  const squares = Array.from({ length: count }, (_, i) =>
    centerCrop(pictureOf(data.subarray(i * length, (i + 1) * length), width, height), size),
  );
  return tf.tensor4d(Int32Array.from(joinPixels(squares).data), [count, size, size, 3], 'int32');
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
