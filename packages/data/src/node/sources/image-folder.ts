/** A folder of images with one sub-folder per class, as torchvision's ImageFolder, or with labels beside them. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { imagenetClasses } from '../../pictures/imagenet.js';
import { Pace } from '../pace.js';
import { decodeImage } from '../pictures/decode-image.js';
import { ImageError } from '../pictures/image-error.js';
import { contentOf } from './content.js';
import { labelsBeside } from './folder-labels.js';
import { type ImageFiles, walkImages } from './folder-walk.js';
import { type ImageSource, ImageSourceError, type ImageSourceOptions, imageExtensions, LeftOutCounter } from './image-source.js';
import { MAX_CLASSES } from './labels.js';
import { chosenSplit, list } from './splits.js';

/**
 * Opens an image folder. Images below a class folder belong to it, at any depth; images beside the class folders have no class.
 *
 * Classes are numbered in the order of their names, also those without an image. If every class folder is named as one of ImageNet
 * (`n01440764`), the numbers are ImageNet's, also when some of the 1,000 are missing. Keys are paths below the folder, with `/`. Folders
 * of splits, wherever they lie, are no classes: `train/cat`, `images/val2017`, `cat/test`.
 * @throws ImageSourceError if it is not a folder, has no image, or has several splits of which none is chosen
 */
export async function openImageFolder(root: string, options: ImageSourceOptions = {}): Promise<ImageSource> {
  const leftOut = new LeftOutCounter();
  const walked = await walkImages(root, leftOut);
  if (walked.keys.length === 0) {
    const others = leftOut.all.map(({ count, what, example }) => `${count} ${what[count === 1 ? 0 : 1]} (${example})`);
    throw new ImageSourceError(
      root,
      `it has no image (${[...imageExtensions].join(', ')})${others.length > 0 ? `, but ${others.join(', ')}` : ''}.`,
      {
        hint: 'Expected one sub-folder per class.',
      },
    );
  }
  const { folder, keys, odd, split, classPaths, folders } = ofSplit(root, walked, options.split, leftOut);
  const beside = await labelsBeside([...new Set([folder, root])], keys, options, leftOut);
  const { labels, classNames, empty, from } =
    beside !== undefined
      ? { labels: beside.numbers, classNames: beside.names, empty: [], from: beside.from }
      : options.labels === 'none'
        ? { labels: new Int32Array(keys.length).fill(-1), classNames: [], empty: [], from: 'none' }
        : await labelsOfFolders(folder, classPaths, folders, leftOut);
  return {
    location: folder,
    kind: 'folder',
    count: keys.length,
    classNames,
    labelsFrom: from,
    labelHint: 'one sub-folder per class, labels.csv, dataset.json, or --labels names',
    split,
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

/** The images of the split that is meant. `classPaths` are their keys, `folders` those of the classes, without the folders of splits. */
function ofSplit(root: string, { keys, odd, folders }: ImageFiles, wanted: string | undefined, leftOut: LeftOutCounter) {
  const { split, folder, beside, below } = chosenSplit(root, keys, folders, wanted);
  if (split === undefined) return { folder: root, keys, odd, split, classPaths: keys, folders };
  for (const key of beside) leftOut.add('image beside the splits', 'images beside the splits', key);
  const start = folder === undefined ? 0 : folder.length + 1;
  const taken = keys.filter((key) => below(key) !== undefined);
  const oddOnes = [...odd].map(([key, at]) => [key.slice(start), at] as const);
  const classes = folders.map(below).filter((name) => name !== undefined && name !== '.');
  return {
    ...{ folder: path.join(root, folder ?? ''), split },
    ...{ keys: taken.map((key) => key.slice(start)), odd: new Map(oddOnes), classPaths: taken.map((key) => below(key)!) },
    folders: [...new Set(classes as string[])],
  };
}

async function labelsOfFolders(folder: string, keys: readonly string[], folders: readonly string[], leftOut: LeftOutCounter) {
  const pace = new Pace();
  const classOf: (string | undefined)[] = [];
  for (const key of keys) {
    const end = key.indexOf('/');
    classOf.push(end < 0 ? undefined : key.slice(0, end));
    if (pace.due) await pace.rest();
  }
  const used = new Set(classOf);
  const classes = classOf.some((name) => name !== undefined) ? folders.filter((name) => !name.includes('/')) : [];
  if (classes.length > MAX_CLASSES)
    throw new ImageSourceError(folder, `it has ${classes.length} class folders; at most ${MAX_CLASSES} are believed.`);
  const known = new Set(imagenetClasses);
  const classNames = classes.length > 0 && classes.every((name) => known.has(name)) ? imagenetClasses : classes;
  const numbers = new Map(classNames.map((name, number) => [name, number]));
  const labels = new Int32Array(keys.length).fill(-1);
  for (const [i, name] of classOf.entries()) {
    if (name !== undefined) labels[i] = numbers.get(name) ?? -1;
    if (classes.length > 0 && labels[i] < 0) leftOut.add('image without a class folder', 'images without a class folder', keys[i]);
    if (pace.due) await pace.rest();
  }
  return { labels, classNames, empty: classes.filter((name) => !used.has(name)), from: wordsFor(folder, keys, classes) };
}

/** Where the labels come from; and of a lone class, which may be a folder around the others, what is in it. */
function wordsFor(folder: string, keys: readonly string[], classes: readonly string[]): string {
  if (classes.length === 0) return 'none';
  const deeper =
    classes.length > 1 ? [] : [...new Set(keys.map((key) => key.split('/').slice(1, -1)[0]).filter((name) => name !== undefined))];
  if (deeper.length < 2) return 'names of the folders';
  return `names of the folders (${classes[0]} itself has folders, ${list(deeper)}: if they are the classes, name ${path.join(folder, classes[0])})`;
}
