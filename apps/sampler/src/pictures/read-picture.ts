/** Pictures from files for `--init` and `--mask`. */

import fs from 'node:fs/promises';
import type { Pixels } from '@dit-moe/data';
import { preprocessImage } from '@dit-moe/data/node';
import { UsageError } from '@dit-moe/kit';

/**
 * A file's picture in RGB, cropped to a square.
 * @param option for the error
 * @param size of the square in pixels
 * @throws UsageError if the file cannot be read
 */
export async function readPicture(option: string, file: string, size: number): Promise<Pixels> {
  try {
    return await preprocessImage(await fs.readFile(file), file, { size });
  } catch (cause) {
    throw new UsageError(`${option}: cannot use ${file}: ${(cause as Error).message}`);
  }
}
