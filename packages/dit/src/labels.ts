/** Label dropout, which trains the unconditional half of classifier-free guidance (Ho and Salimans 2022). */
import { ArgumentError } from '@dit-moe/tensor-ops';
import { type DitConfig, nullLabelOf } from './config.js';

/**
 * Labels with the null label where a uniform number is below the probability.
 *
 * @param labels of a batch, `[B]`
 * @param uniform numbers in [0, 1), `[B]`, from `uniformRows`, so that they depend on the sample and not on its batch
 * @param probability share of labels to drop, 0.1 in DiT
 * @throws ArgumentError if labels are to be dropped and the model has no null label
 */
export function dropLabels(
  config: Pick<DitConfig, 'numClasses' | 'nullLabel'>,
  labels: Int32Array,
  uniform: ArrayLike<number>,
  probability: number,
): Int32Array {
  if (!(probability >= 0 && probability <= 1)) throw new ArgumentError('dropLabels: probability', 'a number from 0 to 1', probability);
  if (probability === 0) return labels;
  const nullLabel = nullLabelOf(config);
  if (nullLabel === undefined) throw new ArgumentError('dropLabels', 'a model with a null label', 'one without (DitConfig.nullLabel)');
  return labels.map((label, i) => (uniform[i] < probability ? nullLabel : label));
}
