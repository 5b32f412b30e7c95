/** The run that a file belongs to. */
import path from 'node:path';

/** The run folder of a file in one of its checkpoints; undefined for any other file. */
export function runOf(file: string): string | undefined {
  const folder = path.dirname(path.resolve(file));
  return /^step-\d+$/.test(path.basename(folder)) ? path.resolve(folder, '../..') : undefined;
}
