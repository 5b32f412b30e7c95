/** Classes of a data set, whatever its format tells of them. */

import { MAX_CLASSES } from '@dit-moe/data/node';
import { DataError } from '@dit-moe/kit';

export interface Classes {
  readonly names: readonly string[];
  /** Label of the model for a label of the data set, in which -1 means none: that becomes the null label. */
  labelOf(label: number): number;
}

/**
 * The data set's own names; where it has only numbers, such as WebDataset, the numbers up to the largest; without any label the one
 * class `all`.
 * @throws DataError if a label has no name although others have
 */
export function classesOf(location: string, names: readonly string[], labels: Iterable<number>): Classes {
  let most = -1;
  for (const label of labels) most = Math.max(most, label);
  if (names.length > 0 && most >= names.length)
    throw new DataError(`${location} has the label ${most}, but names of ${names.length} classes only, from 0 to ${names.length - 1}.`);
  if (most >= MAX_CLASSES)
    throw new DataError(`${location} has the label ${most}, which is no class number: at most ${MAX_CLASSES} classes are believed.`);
  if (names.length === 0 && most < 0) return { names: ['all'], labelOf: () => 0 };
  const all = names.length > 0 ? names : Array.from({ length: most + 1 }, (_, i) => String(i));
  return { names: all, labelOf: (label) => (label < 0 ? all.length : label) };
}
