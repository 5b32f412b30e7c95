/** A folder of images with one sub-folder per class, as torchvision's ImageFolder, or with labels beside them. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { imagenetClasses } from '../../pictures/imagenet.js';
import { decodeImage } from '../pictures/decode-image.js';
import { ImageError } from '../pictures/image-error.js';
import { contentOf } from './content.js';
import { labelsBeside } from './folder-labels.js';
import { walkImages } from './folder-walk.js';
import { type ImageSource, ImageSourceError, type ImageSourceOptions, imageExtensions, LeftOutCounter } from './image-source.js';
import { MAX_CLASSES } from './labels.js';

/**
 * Opens an image folder. Images below a class folder belong to it, at any depth; images beside the class folders have no class.
 *
 * Classes are numbered in the order of their names, also those without an image. If every class folder is named as one of ImageNet
 * (`n01440764`), the numbers are ImageNet's, also when some of the 1,000 are missing. Keys are paths below the folder, with `/`.
 * @throws ImageSourceError if it is not a folder or has no image
 */
export async function openImageFolder(folder: string, options: ImageSourceOptions = {}): Promise<ImageSource> {
  const leftOut = new LeftOutCounter();
  const { keys, odd, folders } = await walkImages(folder, leftOut);
  if (keys.length === 0) {
    const others = leftOut.all.map(({ count, what, example }) => `${count} ${what[count === 1 ? 0 : 1]} (${example})`);
    throw new ImageSourceError(
      folder,
      `it has no image (${[...imageExtensions].join(', ')})${others.length > 0 ? `, but ${others.join(', ')}` : ''}.`,
      {
        hint: 'Expected one sub-folder per class.',
      },
    );
  }
  const beside = await labelsBeside(folder, keys, options, leftOut);
  const { labels, classNames, empty } =
    beside !== undefined
      ? { labels: beside.numbers, classNames: beside.names, empty: [] }
      : options.labels === 'none'
        ? { labels: new Int32Array(keys.length).fill(-1), classNames: [], empty: [] }
        : labelsOfFolders(folder, keys, folders, leftOut);
  return {
    location: folder,
    kind: 'folder',
    count: keys.length,
    classNames,
    labelsFrom: beside?.from ?? (classNames.length > 0 ? 'names of the folders' : 'none'),
    labelHint: 'one sub-folder per class, labels.csv, dataset.json, or --labels names',
    leftOut: leftOut.all,
    emptyClasses: empty,
    endings: new Set(keys.map((key) => path.extname(key).slice(1).toLowerCase())),
    key: (index) => keys[index],
    label: (index) => labels[index],
    async picture(index, decoding) {
      const key = keys[index];
      const bytes = await fs.readFile(odd.get(key) ?? path.join(folder, key)).catch((error: NodeJS.ErrnoException) => {
        throw new ImageError(key, `it cannot be read (${error.code ?? 'error'}).`, { cause: error });
      });
      return decodeImage(bytes, key, decoding);
    },
    content: () => contentOf(keys.map((key) => ({ file: odd.get(key) ?? path.join(folder, key) }))),
    close: async () => {},
  };
}

function labelsOfFolders(folder: string, keys: readonly string[], folders: readonly string[], leftOut: LeftOutCounter) {
  const classOf = (key: string): string | undefined => (key.includes('/') ? key.slice(0, key.indexOf('/')) : undefined);
  const used = new Set(keys.map(classOf));
  const classes = keys.some((key) => key.includes('/')) ? folders : [];
  if (classes.length > MAX_CLASSES)
    throw new ImageSourceError(folder, `it has ${classes.length} class folders; at most ${MAX_CLASSES} are believed.`);
  const known = new Set(imagenetClasses);
  const classNames = classes.length > 0 && classes.every((name) => known.has(name)) ? imagenetClasses : classes;
  const numbers = new Map(classNames.map((name, number) => [name, number]));
  const labels = Int32Array.from(keys, (key) => numbers.get(classOf(key) ?? '') ?? -1);
  if (classes.length > 0)
    for (const [i, label] of labels.entries())
      if (label < 0) leftOut.add('image without a class folder', 'images without a class folder', keys[i]);
  return { labels, classNames, empty: classes.filter((name) => !used.has(name)) };
}
