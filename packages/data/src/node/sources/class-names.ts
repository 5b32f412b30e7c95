/** Names for labels that are numbers, where the data set's own format has no place for them. */
import { isUtf8 } from 'node:buffer';
import fs from 'node:fs/promises';
import path from 'node:path';
import { ImageSourceError } from './image-source.js';
import { MAX_CLASSES } from './labels.js';

/** The file that is looked for beside arrays and shards: a name a line, in the order of the labels. */
const CLASS_NAMES_FILE = 'classes.txt';

/**
 * Names of the classes, if a `classes.txt` is in the folder.
 * @throws ImageSourceError if it names a class twice, leaves one without a name, or is no text of names
 */
export async function classNamesIn(folder: string): Promise<readonly string[]> {
  const file = path.join(folder, CLASS_NAMES_FILE);
  const bytes = await fs.readFile(file).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
    throw error;
  });
  if (bytes === undefined) return [];
  if (!isUtf8(bytes)) throw new ImageSourceError(file, 'it is not UTF-8 text.');
  const names = bytes
    .toString('utf8')
    .replace(/^\ufeff/, '')
    .trimEnd()
    .split(/\r?\n/)
    .map((name) => name.trim());
  if (names.length > MAX_CLASSES)
    throw new ImageSourceError(file, `it has ${names.length} lines; at most ${MAX_CLASSES} classes are believed.`);
  for (const [i, name] of names.entries()) {
    if (name === '') throw new ImageSourceError(file, `line ${i + 1} is empty: class ${i} has no name.`);
    if (names.indexOf(name) < i) throw new ImageSourceError(file, `lines ${names.indexOf(name) + 1} and ${i + 1} both say "${name}".`);
  }
  return names;
}
