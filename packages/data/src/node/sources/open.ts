/** Opening images by their path. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { openImageFolder } from './image-folder.js';
import { byName, type ImageSource, ImageSourceError } from './image-source.js';
import { openParquet, type ParquetOptions } from './parquet.js';
import { openWebDataset } from './webdataset.js';

/**
 * Opens an image folder, WebDataset tar shards or parquet files: a file or a folder that holds them. Several shards are named by
 * their folder, by `*` in the file name (`data/train-*.parquet`), or by braces as WebDataset does: `train-{000..127}.tar`.
 * @throws ImageSourceError if there is nothing, or nothing of a known kind
 */
export async function openImages(location: string, options: ParquetOptions = {}): Promise<ImageSource> {
  const files = await filesOf(location);
  const ending = (wanted: string): string[] => files.filter((file) => file.toLowerCase().endsWith(wanted));
  const [tars, tables] = [ending('.tar'), ending('.parquet')];
  if (tars.length > 0 && tables.length > 0) throw new ImageSourceError(location, 'it holds both tar and parquet files; name one kind.');
  const shards = [...tars, ...tables];
  const splits = [...new Set(shards.map((file) => path.basename(file).replace(/[-_.]?\d.*$|\.\w+$/, '')))];
  if (splits.length > 1)
    throw new ImageSourceError(
      location,
      `it holds several splits (${splits.join(', ')}); name one: ${path.join(location, `${splits[0]}*`)}`,
    );
  if (tars.length > 0) return openWebDataset(tars);
  if (tables.length > 0) return openParquet(tables, options);
  const compressed = files.find((file) => /\.(tar\.\w+|tgz)$/.test(file));
  if (compressed !== undefined)
    throw new ImageSourceError(compressed, 'compressed tar files cannot be read at random; decompress it (images do not shrink anyway).');
  if (files.length === 1 && files[0] === location)
    throw new ImageSourceError(location, 'expected a folder of images, a .tar file or a .parquet file.');
  return openImageFolder(location);
}

/** The file itself, the files of a folder, or what braces stand for. */
async function filesOf(location: string): Promise<string[]> {
  const braces = /^(.*)\{(\d+)\.\.(\d+)\}(.*)$/.exec(location);
  if (braces !== null) {
    const [, before, first, last, after] = braces as unknown as [string, string, string, string, string];
    const numbers = Array.from({ length: Math.max(0, Number(last) - Number(first) + 1) }, (_, i) => String(Number(first) + i));
    return numbers.map((number) => before + number.padStart(first.length, '0') + after);
  }
  const pattern = path.basename(location);
  try {
    if (pattern.includes('*')) {
      const folder = path.dirname(location);
      const matches = new RegExp(
        `^${pattern
          .split('*')
          .map((part) => part.replace(/[^\w]/g, '\\$&'))
          .join('.*')}$`,
      );
      const found = (await fs.readdir(folder)).filter((file) => matches.test(file)).sort(byName);
      if (found.length === 0) throw new ImageSourceError(location, 'no file has such a name.');
      return found.map((file) => path.join(folder, file));
    }
    if (!(await fs.stat(location)).isDirectory()) return [location];
    return (await fs.readdir(location)).sort(byName).map((file) => path.join(location, file));
  } catch (error) {
    if (error instanceof ImageSourceError) throw error;
    const code = (error as NodeJS.ErrnoException).code ?? '';
    throw new ImageSourceError(location, code === 'ENOENT' ? 'it does not exist.' : `it cannot be read (${code}).`, { cause: error });
  }
}
