/** A set of images by its path: an .npz file, a folder with `samples.npz`, or whatever training reads, decoded as for training. */
import fs from 'node:fs/promises';
import path from 'node:path';
import type { PixelBatches } from '@dit-moe/data';
import { npzImageShape, npzImages, npzLabels } from '@dit-moe/data';
import { decodedImages, describeImages, type ImageSource, ImageSourceError, type ImageSourceOptions, openImages } from '@dit-moe/data/node';
import { openNpz } from '@dit-moe/tensor-ops/io/node';
import { hasStatistics, type ReferenceStatistics, readStatistics } from '../statistics/reference-statistics.js';

/** What lies at a path: images, statistics, or both. */
export interface ImageSet {
  /** The file or folder. */
  path: string;
  kind: 'npz' | ImageSource['kind'];
  /** Number of images; 0 if there are statistics only. */
  count: number;
  /** Height and width, if all are known to have them. */
  size?: readonly [number, number];
  /** The images from the first on, as often as asked for. */
  images(): PixelBatches;
  statistics?: ReferenceStatistics;
  /** Class of each image, if all have one: `arr_1`, or the source's. */
  labels?: number[];
  /** One line for people: how many images, classes, what was left out. */
  summary: string;
  /** Ends of lossy formats among the files. */
  lossy: string[];
  close(): Promise<void>;
}

const LOSSY: ReadonlySet<string> = new Set(['jpg', 'jpeg', 'webp', 'avif']);

/** How files of images are read; `.npz` files need none of it. */
export interface ImageSetOptions extends ImageSourceOptions {
  /** Turn images as their EXIF orientation says (default false: as training, and as Pillow without `exif_transpose`). */
  applyOrientation?: boolean;
}

/** Of `dit-moe-sampler merge`. */
const MERGED = 'samples.npz';

/**
 * Opens a set of images or reference statistics; nothing but headers, statistics and labels is read.
 * @throws FormatError, ImageSourceError if there is nothing usable
 */
export async function openImageSet(location: string, options: ImageSetOptions = {}): Promise<ImageSet> {
  const stat = await fs.stat(location).catch(() => {
    throw new ImageSourceError(location, 'there is no file or folder of that name.');
  });
  if (!stat.isDirectory()) return location.endsWith('.npz') ? openNpzSet(location) : openSourceSet(location, options);
  const merged = path.join(location, MERGED);
  if ((await fs.stat(merged).catch(() => undefined)) !== undefined) return openNpzSet(merged);
  return openSourceSet(location, options);
}

async function openSourceSet(location: string, { applyOrientation = false, ...options }: ImageSetOptions): Promise<ImageSet> {
  const source = await openImages(location, options);
  const labels = Array.from({ length: source.count }, (_, i) => source.label(i));
  return {
    path: location,
    kind: source.kind,
    count: source.count,
    images: () => decodedImages(source, { applyOrientation }),
    summary: describeImages(source),
    ...(labels.every((label) => label >= 0) && { labels }),
    lossy: [...source.endings].filter((ending) => LOSSY.has(ending)).map((ending) => `.${ending}`),
    close: () => source.close(),
  };
}

async function openNpzSet(file: string): Promise<ImageSet> {
  const { arrays, close } = await openNpz(file);
  try {
    const statistics = hasStatistics(arrays) ? await readStatistics(arrays) : undefined;
    if (statistics !== undefined && !arrays.names.includes('arr_0'))
      return { path: file, kind: 'npz', count: 0, images: () => [], statistics, lossy: [], summary: 'statistics', close };
    const [count, height, width] = await npzImageShape(arrays);
    const labels = await npzLabels(arrays, count);
    return {
      path: file,
      kind: 'npz',
      count,
      size: [height, width],
      images: () => npzImages(arrays),
      statistics,
      labels,
      lossy: [],
      summary: `${count} images (npz)`,
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}
