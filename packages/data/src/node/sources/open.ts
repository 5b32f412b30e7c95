/** Opening images by their path. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { openArrays } from './arrays.js';
import { classNamesIn } from './class-names.js';
import { openImageFolder } from './image-folder.js';
import { type ImageSource, ImageSourceError, type ImageSourceOptions } from './image-source.js';
import { type Located, locate, unreadable } from './locate.js';
import { openParquet } from './parquet.js';
import { openWebDataset } from './webdataset.js';

/** How a file begins that Git LFS has put in the place of the real one. */
const LFS_POINTER = 'version https://git-lfs';

/**
 * Opens an image folder, WebDataset tar shards, parquet files, or arrays in .npz or idx files: a file, or a folder that holds them.
 * Several files are named by their folder, by `*` in the file name (`data/train-*.parquet`), or by braces as WebDataset does:
 * `train-{000..127}.tar`. Labels that are numbers get their names from a file `classes.txt` beside them, a name a line.
 * @throws ImageSourceError if there is nothing, nothing of a known kind, a file of braces is missing, or several splits are there and
 * none is chosen
 */
export async function openImages(location: string, options: ImageSourceOptions = {}): Promise<ImageSource> {
  const located = await locate(location, options);
  if (located.kind !== 'folder') await Promise.all(located.files.map(refusePointer));
  // Names of the files have told the split: names in them are something else.
  const inside = located.split === undefined ? options : { ...options, split: 'none' };
  const source = await {
    folder: () => openImageFolder((located as { folder: string }).folder, options),
    tar: () => openWebDataset((located as { files: string[] }).files, inside),
    parquet: () => openParquet((located as { files: string[] }).files, options),
    npz: () => openArrays((located as { files: string[] }).files, options),
    idx: () => openArrays((located as { files: string[] }).files, options),
  }[located.kind]();
  try {
    return await withNames(source, located);
  } catch (error) {
    await source.close();
    throw error;
  }
}

/** @throws ImageSourceError if a label has no name although others have */
async function withNames(source: ImageSource, located: Located): Promise<ImageSource> {
  const named = source.classNames.length > 0 || source.labelsFrom === 'none' || located.kind === 'folder';
  const classNames = named ? source.classNames : await classNamesIn(path.dirname(located.files[0]));
  for (let i = 0; i < source.count && classNames.length > 0; i++)
    if (source.label(i) >= classNames.length)
      throw new ImageSourceError(
        source.location,
        `${source.key(i)} has the label ${source.label(i)}, but names of ${classNames.length} classes only, from 0 to ${classNames.length - 1}.`,
      );
  return { ...source, classNames, split: located.split ?? source.split, leftOut: [...located.leftOut, ...source.leftOut] };
}

/** @throws ImageSourceError if the file is what Git LFS puts in the place of the real one */
async function refusePointer(file: string): Promise<void> {
  const handle = await fs.open(file, 'r').catch((error: unknown) => {
    throw new ImageSourceError(file, unreadable(error), { cause: error });
  });
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(LFS_POINTER.length), 0, LFS_POINTER.length, 0);
    if (buffer.toString('latin1', 0, bytesRead) === LFS_POINTER)
      throw new ImageSourceError(file, 'it is a pointer of Git LFS, the file itself was not fetched.', {
        hint: 'Run "git lfs pull" in its folder.',
      });
  } finally {
    await handle.close();
  }
}
