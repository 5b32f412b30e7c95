/** Formats of pictures, by the ending of the file's name. */
import path from 'node:path';
import { UsageError } from '@dit-moe/kit';

const endings = { '.png': 'png', '.jpg': 'jpeg', '.jpeg': 'jpeg', '.webp': 'webp', '.gif': 'gif' } as const;
export type PictureFormat = (typeof endings)[keyof typeof endings];

/**
 * The format that a file's name asks for.
 * @param option for the error
 * @throws UsageError naming the endings there are
 */
export function pictureFormat(option: string, file: string): PictureFormat {
  const found = endings[path.extname(file).toLowerCase() as keyof typeof endings];
  if (found === undefined)
    throw new UsageError(`${option} ${file}: expected a name that ends in ${Object.keys(endings).join(', ')}, which says the format.`);
  return found;
}
