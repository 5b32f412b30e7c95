/** A set of images by its path: an .npz file, a folder of images, or a folder with `samples.npz`. */
import fs from 'node:fs/promises';
import path from 'node:path';
import type { PixelBatches } from '@dit-moe/data';
import { npzImageShape, npzImages, npzLabels } from '@dit-moe/data';
import { openNpz } from '@dit-moe/tensor-ops/io/node';
import { MetricError } from '../errors.js';
import { hasStatistics, type ReferenceStatistics, readStatistics } from '../statistics/reference-statistics.js';
import { decodeImages, listImages } from './image-folder.js';

/** What lies at a path: images, statistics, or both. */
export interface ImageSet {
  /** The file or folder. */
  path: string;
  kind: 'npz' | 'folder';
  /** Number of images; 0 if there are statistics only. */
  count: number;
  /** Height and width, if all are known to have them. */
  size?: readonly [number, number];
  /** The images from the first on, as often as asked for. */
  images(): PixelBatches;
  statistics?: ReferenceStatistics;
  /** Class of each image: `arr_1`, or the subfolder. */
  labels?: number[];
  /** Ends of lossy formats among the files. */
  lossy: string[];
  close(): Promise<void>;
}

/** Of `dit-moe-sampler merge`. */
const MERGED = 'samples.npz';

/**
 * Opens a set of images or reference statistics; nothing but headers, statistics and labels is read.
 * @throws MetricError, FormatError if there is nothing usable
 */
export async function openImageSet(location: string): Promise<ImageSet> {
  const stat = await fs.stat(location).catch(() => {
    throw new MetricError('images', `there is no file or folder ${location}.`);
  });
  if (!stat.isDirectory()) return openNpzSet(location);
  const merged = path.join(location, MERGED);
  if ((await fs.stat(merged).catch(() => undefined)) !== undefined) return openNpzSet(merged);
  const { files, labels, lossy } = await listImages(location);
  return { path: location, kind: 'folder', count: files.length, images: () => decodeImages(files), labels, lossy, close: async () => {} };
}

async function openNpzSet(file: string): Promise<ImageSet> {
  if (!file.endsWith('.npz')) throw new MetricError('images', `${file} is neither a folder nor an .npz file.`);
  const { arrays, close } = await openNpz(file);
  try {
    const statistics = hasStatistics(arrays) ? await readStatistics(arrays) : undefined;
    if (statistics !== undefined && !arrays.names.includes('arr_0'))
      return { path: file, kind: 'npz', count: 0, images: () => [], statistics, lossy: [], close };
    const [count, height, width] = await npzImageShape(arrays);
    const labels = await npzLabels(arrays, count);
    return { path: file, kind: 'npz', count, size: [height, width], images: () => npzImages(arrays), statistics, labels, lossy: [], close };
  } catch (error) {
    await close();
    throw error;
  }
}
