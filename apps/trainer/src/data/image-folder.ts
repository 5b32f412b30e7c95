/**
 * Reads a folder of images with one sub-folder per class, as torchvision's ImageFolder does: classes are numbered in the
 * order of their names (numbers by value), files are read in the order of their names.
 */
import { createHash } from 'node:crypto';
import fs from 'node:fs/promises';
import path from 'node:path';
import sharp from 'sharp';
import { DataError } from '../errors.js';

/** Images in memory. */
export interface ImageDataset {
  /** Pixels 0..255, `[count, channels, size, size]`. */
  readonly pixels: Uint8Array;
  /** Class of each image. */
  readonly labels: Int32Array;
  /** Folder names, by class number. */
  readonly classNames: readonly string[];
  readonly count: number;
  readonly channels: number;
  /** Height and width. */
  readonly size: number;
  /** Files that could not be decoded, with the reason. */
  readonly skipped: readonly { file: string; reason: string }[];
  /** sha256 over class names, labels and pixels: tells on resume whether the data changed. */
  readonly fingerprint: string;
}

export interface ImageFolderOptions {
  /** Height and width to resize to (default: those of the first readable image). */
  size?: number;
  /** 1 (grey) or 3 (RGB); default 1. */
  channels?: 1 | 3;
}

const extensions = new Set(['.png', '.jpg', '.jpeg', '.webp']);
/** Enough for any photograph; a small file can claim far more and exhaust the memory. */
const MAX_INPUT_PIXELS = 50_000_000;
/** Images decoded at once: sharp runs on libuv's pool of four threads. */
const DECODE_AT_ONCE = 8;

/**
 * Loads every image below `folder` into memory. An image that cannot be decoded is skipped and listed.
 * @throws DataError if the folder is missing or unreadable, has no class folders, or a class has no usable image
 */
export async function loadImageFolder(folder: string, options: ImageFolderOptions = {}): Promise<ImageDataset> {
  const classNames = (await list(folder)).filter((entry) => entry.isDirectory() && !entry.name.startsWith('.')).map((entry) => entry.name);
  classNames.sort((a, b) => a.localeCompare(b, 'en', { numeric: true }));
  if (classNames.length === 0) {
    throw new DataError(`${folder} has no class folders. Expected one folder per class with PNG, JPEG or WebP images, such as ${path.join(folder, 'cat', '0001.png')}.`);
  }
  const channels = options.channels ?? 1;
  let { size } = options;
  const images: Uint8Array[] = [];
  const labels: number[] = [];
  const skipped: { file: string; reason: string }[] = [];
  for (const [label, name] of classNames.entries()) {
    const directory = path.join(folder, name);
    const files = (await list(directory)).filter((entry) => extensions.has(path.extname(entry.name).toLowerCase())).map((entry) => entry.name);
    if (files.length === 0) throw new DataError(`The class folder ${directory} is empty: it has no PNG, JPEG or WebP image. Add images or remove the folder.`);
    files.sort((a, b) => a.localeCompare(b, 'en', { numeric: true }));
    const before = images.length;
    for (let start = 0; start < files.length; start += DECODE_AT_ONCE) {
      size ??= await firstSize(directory, files);
      const chunk = files.slice(start, start + DECODE_AT_ONCE).map((file) => path.join(directory, file));
      for (const [i, result] of (await Promise.allSettled(chunk.map((file) => decode(file, size, channels)))).entries()) {
        if (result.status === 'fulfilled') {
          images.push(result.value);
          labels.push(label);
        } else {
          skipped.push({ file: chunk[i]!, reason: firstLine(result.reason) });
        }
      }
    }
    if (images.length === before) throw new DataError(`No image in ${directory} can be read; the first is ${skipped.at(-files.length)!.file}: ${skipped.at(-files.length)!.reason}.`);
  }
  const pixels = Buffer.concat(images);
  const labelArray = Int32Array.from(labels);
  const fingerprint = createHash('sha256').update(JSON.stringify(classNames)).update(new Uint8Array(labelArray.buffer)).update(pixels).digest('hex');
  return { pixels, labels: labelArray, classNames, count: images.length, channels, size: size!, skipped, fingerprint };
}

async function list(folder: string) {
  try {
    return await fs.readdir(folder, { withFileTypes: true });
  } catch (error) {
    const reasons: Record<string, string> = { ENOENT: 'does not exist', ENOTDIR: 'is not a folder', EACCES: 'may not be read (permission denied)' };
    const code = (error as NodeJS.ErrnoException).code ?? '';
    throw new DataError(`The data folder ${folder} ${reasons[code] ?? `cannot be read (${code})`}.`, { cause: error });
  }
}

async function firstSize(directory: string, files: readonly string[]): Promise<number | undefined> {
  for (const file of files) {
    try {
      const { width, height } = await sharp(path.join(directory, file), { limitInputPixels: MAX_INPUT_PIXELS }).metadata();
      return Math.min(width, height);
    } catch {
      // An unreadable file is reported when it is decoded.
    }
  }
  return undefined;
}

async function decode(file: string, size: number | undefined, channels: 1 | 3): Promise<Uint8Array> {
  const image = sharp(file, { failOn: 'error', limitInputPixels: MAX_INPUT_PIXELS }).removeAlpha();
  if (size !== undefined) image.resize(size, size, { fit: 'cover', kernel: 'lanczos3' });
  const { data, info } = await (channels === 1 ? image.greyscale() : image.toColourspace('srgb')).raw().toBuffer({ resolveWithObject: true });
  const plane = info.width * info.height;
  const planar = new Uint8Array(channels * plane);
  for (let c = 0; c < channels; c++) for (let i = 0; i < plane; i++) planar[c * plane + i] = data[i * info.channels + c]!;
  return planar;
}

function firstLine(error: unknown): string {
  return String((error as Error).message ?? error).split('\n')[0]!;
}
