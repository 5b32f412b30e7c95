/** Opening images by their path. */
import path from 'node:path';
import { openArrays } from './arrays.js';
import { classNamesIn } from './class-names.js';
import { openImageFolder } from './image-folder.js';
import type { ImageSource, ImageSourceOptions } from './image-source.js';
import { locate } from './locate.js';
import { openParquet } from './parquet.js';
import { openWebDataset } from './webdataset.js';

/**
 * Opens an image folder, WebDataset tar shards, parquet files, or arrays in .npz or idx files: a file, or a folder that holds them.
 * Several files are named by their folder, by `*` in the file name (`data/train-*.parquet`), or by braces as WebDataset does:
 * `train-{000..127}.tar`. Labels that are numbers get their names from a file `classes.txt` beside them, a name a line.
 * @throws ImageSourceError if there is nothing, nothing of a known kind, a file of braces is missing, or several splits are there and
 * none is chosen
 */
export async function openImages(location: string, options: ImageSourceOptions = {}): Promise<ImageSource> {
  const located = await locate(location, options);
  const source = await {
    folder: () => openImageFolder((located as { folder: string }).folder, options),
    tar: () => openWebDataset((located as { files: string[] }).files, options),
    parquet: () => openParquet((located as { files: string[] }).files, options),
    npz: () => openArrays((located as { files: string[] }).files, options),
    idx: () => openArrays((located as { files: string[] }).files, options),
  }[located.kind]();
  const named = source.classNames.length > 0 || source.labelsFrom === 'none' || located.kind === 'folder';
  const classNames = named ? source.classNames : await classNamesIn(path.dirname(located.files[0]));
  return { ...source, classNames, split: located.split ?? source.split, leftOut: [...located.leftOut, ...source.leftOut] };
}
