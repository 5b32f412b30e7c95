/** Label dropout, which trains the unconditional half of classifier-free guidance (Ho and Salimans 2022). */
import { ArgumentError } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';
import { type DitConfig, nullLabelOf } from './config.js';

/**
 * Replaces labels by the null label where a uniform number is below the probability.
 *
 * @param labels int32 `[B]`
 * @param uniform numbers in [0, 1), `[B]`, from `randomUniformBatch`, so that they depend on the sample and not on its batch
 * @param probability share of labels to drop, 0.1 in DiT
 * @returns int32 `[B]`
 * @throws ArgumentError if labels are to be dropped and the model has no null label
 */
export function dropLabels(config: DitConfig, labels: tf.Tensor, uniform: tf.Tensor, probability: number): tf.Tensor {
  if (!(probability >= 0 && probability <= 1)) throw new ArgumentError('dropLabels: probability', 'a number from 0 to 1', probability);
  const nullLabel = nullLabelOf(config);
  if (probability === 0) return tf.clone(labels);
  if (nullLabel === undefined) throw new ArgumentError('dropLabels', 'a model with a null label', 'one without (DitConfig.nullLabel)');
  return tf.where(tf.less(uniform, probability), tf.fill(labels.shape, nullLabel, 'int32'), labels);
}
