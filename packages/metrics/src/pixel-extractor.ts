import * as tf from '@tensorflow/tfjs-core';
import type { FeatureExtractor } from './feature-extractor.js';
import { resample } from './resample.js';

/**
 * Features that need no weights: the pixels themselves, averaged to `side` x `side` and scaled to 0 ... 1. They see colours and
 * layout, no content; enough to tell a run that diverges from one that learns.
 *
 * @param side default 8: 192 dimensions, which a few hundred images determine
 */
export function pixelExtractor(side = 8): FeatureExtractor<'pool'> {
  return {
    description: `pixels averaged to ${side} x ${side}`,
    extract: (images) => ({
      pool: tf.tidy(() => tf.reshape(tf.div(resample(images, [side, side], 'box'), 255), [images.shape[0], -1]) as tf.Tensor2D),
    }),
    dispose() {},
  };
}
