/** Which class each image of a generated set has: a function of the policy and the image's number, never of the worker. */
import { UsageError } from '@dit-moe/kit';
import { randomIntegers } from '@dit-moe/tensor-ops';
import { labelOf } from '../classes.js';

/** How labels are chosen; `list` takes them from a file. */
export type LabelPolicy = 'uniform' | 'balanced' | 'list';

/**
 * Labels of images `from ... to - 1`.
 *
 * `uniform` draws each class with equal probability, as the reference's sampling script does; `balanced` goes round the classes, so that
 * their counts differ by one at most.
 * @param list labels of all images, for `list`
 */
export function labelsOf(
  policy: LabelPolicy,
  seed: number,
  numClasses: number,
  from: number,
  to: number,
  list?: readonly number[],
): number[] {
  const label = (index: number): number => {
    if (policy === 'list') return list![index];
    if (policy === 'balanced') return index % numClasses;
    return randomIntegers({ seed, purpose: 'generate.label', index }, 1, numClasses)[0];
  };
  return Array.from({ length: to - from }, (_, i) => label(from + i));
}

/**
 * Labels from the text of a file: class names or numbers, separated by white space or commas.
 * @throws UsageError for an unknown class, a word that means two, or another count than `images`
 */
export function parseLabelList(text: string, classNames: readonly string[], images: number): number[] {
  const labels = text
    .split(/[\s,]+/)
    .filter((part) => part !== '')
    .map((name, i) => labelOf(name, classNames, `--labels, entry ${i + 1}`));
  if (labels.length !== images) throw new UsageError(`--labels: the file has ${labels.length} labels for ${images} images.`);
  return labels;
}
