/** Images of a folder, decoded by sharp (libvips) as they are asked for. */
import fs from 'node:fs/promises';
import path from 'node:path';
import type { Pixels } from '@dit-moe/data';
import sharp from 'sharp';
import { MetricError } from '../errors.js';

const EXTENSIONS = new Set(['.png', '.jpg', '.jpeg', '.webp', '.bmp', '.tif', '.tiff', '.gif', '.avif']);
const LOSSY = new Set(['.jpg', '.jpeg', '.webp', '.avif']);
/** Enough for any photograph; a small file can claim far more and exhaust the memory. */
const MAX_PIXELS = 100_000_000;
/** Images decoded at once: sharp runs on libuv's pool of four threads. */
const DECODE_AT_ONCE = 8;

/** Files of a folder. */
export interface ImageFiles {
  /** Paths in order of their names, numbers by value, subfolders one after the other. */
  files: string[];
  /** Subfolder of each file, by number; `undefined` if all are in one. */
  labels?: number[];
  /** Ends of lossy formats among them, such as `.jpg`. */
  lossy: string[];
}

/**
 * Lists the images in a folder and its subfolders.
 * @throws MetricError if there are none
 */
export async function listImages(folder: string): Promise<ImageFiles> {
  const entries = await fs.readdir(folder, { recursive: true, withFileTypes: true }).catch((cause: NodeJS.ErrnoException) => {
    throw new MetricError('images', `the folder ${folder} cannot be read (${cause.code}).`);
  });
  const names = entries
    .filter((entry) => entry.isFile() && !entry.name.startsWith('.') && EXTENSIONS.has(path.extname(entry.name).toLowerCase()))
    .map((entry) => path.relative(folder, path.join(entry.parentPath, entry.name)))
    .sort((a, b) => a.localeCompare(b, 'en', { numeric: true }));
  if (names.length === 0) throw new MetricError('images', `${folder} has no images: no file ends with ${[...EXTENSIONS].join(', ')}.`);
  const folders = [...new Set(names.map((name) => path.dirname(name)))];
  const number = new Map(folders.map((name, i) => [name, i]));
  return {
    files: names.map((name) => path.join(folder, name)),
    ...(folders.length > 1 && { labels: names.map((name) => number.get(path.dirname(name))!) }),
    lossy: [...new Set(names.map((name) => path.extname(name).toLowerCase()))].filter((extension) => LOSSY.has(extension)),
  };
}

/**
 * Decodes files one after another, each as a batch of one RGB image in its own size; transparency is dropped, orientation kept as
 * stored, 16 bits become 8.
 * @throws MetricError naming the file that cannot be decoded
 */
export async function* decodeImages(files: readonly string[]): AsyncGenerator<Pixels> {
  for (let start = 0; start < files.length; start += DECODE_AT_ONCE)
    for (const image of await Promise.all(files.slice(start, start + DECODE_AT_ONCE).map(decode))) yield image;
}

async function decode(file: string): Promise<Pixels> {
  try {
    const { data, info } = await sharp(file, { failOn: 'error', limitInputPixels: MAX_PIXELS })
      .removeAlpha()
      .toColourspace('srgb')
      .raw({ depth: 'uchar' })
      .toBuffer({ resolveWithObject: true });
    return { data: new Uint8Array(data), count: 1, height: info.height, width: info.width, channels: info.channels };
  } catch (cause) {
    throw new MetricError('images', `${file} cannot be decoded: ${String((cause as Error).message).split('\n')[0]}. Repair or remove it.`);
  }
}
