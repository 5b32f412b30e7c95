/** From RGB images to the features that the metrics need, in compiled batches. */
import { compile, resizeImages } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { MetricError } from '../errors.js';
import type { FeatureExtractor } from '../feature-extractor.js';
import { type InceptionOutput, type InceptionWeights, inception } from './architecture.js';

/** Side of the network's input. */
const SIDE = 299;

/**
 * How images become 299 x 299: `tf1` as the original graph does (TensorFlow 1's bilinear resize without half-pixel centres;
 * ADM's evaluator, torch-fidelity), `pytorch-fid` with half-pixel centres. The two give FIDs that must not be compared.
 */
export type InceptionResize = 'tf1' | 'pytorch-fid';

/**
 * Resizes RGB values 0 ... 255 to the network's input in [-1, 1]; images of 299 x 299 keep their pixels.
 *
 * @param images `[B, H, W, 3]`, int32 or float32
 */
export function resizeForInception(images: tf.Tensor4D, resize: InceptionResize = 'tf1'): tf.Tensor4D {
  const values = tf.cast(images, 'float32') as tf.Tensor4D;
  if (resize === 'tf1') return tf.div(tf.sub(resizeImages(values, [SIDE, SIDE], { centres: 'tf1' }), 128), 128);
  return tf.sub(tf.mul(resizeImages(tf.div(values, 255), [SIDE, SIDE]), 2), 1);
}

/**
 * An extractor of Inception features (`pool`, `spatial`, `logits`), compiled once per batch shape.
 * The weights stay the caller's.
 */
export function inceptionExtractor(
  weights: InceptionWeights,
  resize: InceptionResize = 'tf1',
): FeatureExtractor<'pool' | 'spatial' | 'logits'> {
  const step = compile((images: tf.Tensor) => ({ ...inception(weights, resizeForInception(images as tf.Tensor4D, resize)) }), {
    name: 'inception',
    rewrite: true,
  });
  return {
    description: `Inception (inception-2015-12-05), ${resize} resize`,
    async extract(images) {
      if (images.rank !== 4 || images.shape[3] !== 3)
        throw new MetricError('inceptionExtractor', `expected images [B, H, W, 3], found [${images.shape}].`);
      return (await step.run(images)) as unknown as Record<keyof InceptionOutput, tf.Tensor2D>;
    },
    dispose: () => step.dispose(),
  };
}
