/**
 * Image files as training data: decoded once into memory where they fit, else again whenever they are asked for.
 *
 * An image that cannot be decoded is skipped, counted and named. In memory it leaves the set; on demand the record after it takes its
 * place, which is a function of the data alone, so a resumed run skips the same ones.
 */
import { createHash } from 'node:crypto';
import fs from 'node:fs/promises';
import path from 'node:path';
import { centerCrop } from '@dit-moe/data';
import { decodeImage, type ImageSource, ImageSourceError, openImages } from '@dit-moe/data/node';
import { DataError } from '../errors.js';
import { type Classes, classesOf } from './classes.js';
import type { DataSource, SampleRequest } from './source.js';

export interface ImageOptions {
  /** Height and width (default: the smaller side of the first readable image). */
  size?: number | undefined;
  /** 1 (grey) or 3 (RGB). */
  channels: 1 | 3;
  /** MiB of decoded images to keep in memory. */
  memory: number;
  /** Share of unreadable images beyond which there is an error. */
  maxUnreadable: number;
}

/** Images in memory. */
export interface ImageDataset extends DataSource {
  /** Pixels 0..255, `[count, channels, size, size]`. */
  readonly pixels: Uint8Array;
  /** Class of each image. */
  readonly labels: Int32Array;
}

/** Images decoded at once: sharp runs on libuv's pool of four threads. */
const DECODE_AT_ONCE = 8;
/** Pixels up to which the size of the images is taken without being asked for: a model of pixels of photographs would not fit any memory. */
const LARGEST_UNASKED = 64;

/**
 * Opens an image folder, tar shards or parquet files for training.
 * @throws DataError if there is nothing to train on, or too much of it cannot be read
 */
export async function openImageData(location: string, options: ImageOptions): Promise<DataSource> {
  const source = await openSource(location);
  const size = options.size ?? (await unaskedSize(source));
  const bytes = source.count * options.channels * size * size;
  const sized = { ...options, size };
  return bytes <= options.memory * 2 ** 20 ? loadImages(source, sized) : new StreamedImages(source, sized, await fingerprintOf(source));
}

/** Loads all images below `location` into memory, see {@link openImageData}. */
export async function loadImageFolder(location: string, options: { size?: number; channels?: 1 | 3 } = {}): Promise<ImageDataset> {
  const source = await openSource(location);
  const size = options.size ?? (await firstSize(source));
  return loadImages(source, { channels: options.channels ?? 3, size, memory: Number.POSITIVE_INFINITY, maxUnreadable: 1 });
}

async function openSource(location: string): Promise<ImageSource> {
  try {
    const source = await openImages(location);
    if (source.kind === 'folder') await refuseEmptyClasses(location);
    return source;
  } catch (error) {
    throw ImageSourceError.isInstance(error) ? new DataError((error as Error).message, { cause: error }) : error;
  }
}

/** A class folder without images is more likely a mistake than a wish. */
async function refuseEmptyClasses(folder: string): Promise<void> {
  for (const entry of await fs.readdir(folder, { withFileTypes: true })) {
    if (!entry.isDirectory() || entry.name.startsWith('.')) continue;
    const inside = await fs.readdir(path.join(folder, entry.name));
    if (inside.length === 0)
      throw new DataError(`The class folder ${path.join(folder, entry.name)} is empty. Add images or remove the folder.`);
  }
}

function classesOfSource(source: ImageSource): Classes {
  const labels = function* () {
    for (let i = 0; i < source.count; i++) yield source.label(i);
  };
  return classesOf(source.location, source.classNames, labels());
}

async function loadImages(source: ImageSource, options: ImageOptions & { size: number }): Promise<ImageDataset> {
  const { channels, size } = options;
  const length = channels * size * size;
  const { names: classNames, labelOf } = classesOfSource(source);
  const pixels = new Uint8Array(source.count * length);
  const labels: number[] = [];
  const skipped: { file: string; reason: string }[] = [];
  for (let start = 0; start < source.count; start += DECODE_AT_ONCE) {
    const chunk = Array.from({ length: Math.min(DECODE_AT_ONCE, source.count - start) }, (_, i) =>
      decode(source, start + i, size, channels),
    );
    for (const [i, result] of (await Promise.allSettled(chunk)).entries()) {
      if (result.status === 'fulfilled') {
        pixels.set(result.value, labels.length * length);
        labels.push(labelOf(source.label(start + i)));
      } else {
        skipped.push({ file: source.key(start + i), reason: firstLine(result.reason) });
        checkSkipped(source, skipped, options.maxUnreadable);
      }
    }
  }
  await source.close();
  if (labels.length === 0) throw new DataError(`No image in ${source.location} can be read; the first: ${skipped[0].reason}`);
  const used = pixels.subarray(0, labels.length * length);
  const labelArray = Int32Array.from(labels);
  const fingerprint = createHash('sha256')
    .update(JSON.stringify(classNames))
    .update(new Uint8Array(labelArray.buffer))
    .update(used)
    .digest('hex');
  return {
    ...{ pixels: used, labels: labelArray, classNames, count: labels.length, channels, height: size, width: size, skipped, fingerprint },
    async read(requests, out) {
      for (const [b, { record, flip }] of requests.entries())
        copySample(used.subarray(record * length, (record + 1) * length), out.subarray(b * length), size, flip);
      return Int32Array.from(requests, ({ record }) => labelArray[record]);
    },
    close: async () => {},
  };
}

/** Images that are decoded whenever they are read. */
class StreamedImages implements DataSource {
  readonly count: number;
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  readonly classNames: readonly string[];
  readonly skipped: { file: string; reason: string }[] = [];
  private readonly classes: Classes;
  private readonly bad = new Set<number>();

  constructor(
    private readonly source: ImageSource,
    private readonly options: ImageOptions & { size: number },
    readonly fingerprint: string,
  ) {
    this.count = source.count;
    this.channels = options.channels;
    this.height = options.size;
    this.width = options.size;
    this.classes = classesOfSource(source);
    this.classNames = this.classes.names;
  }

  async read(requests: readonly SampleRequest[], out: Float32Array): Promise<Int32Array> {
    const labels = new Int32Array(requests.length);
    const length = this.channels * this.height * this.width;
    let next = 0;
    const worker = async () => {
      for (let b = next++; b < requests.length; b = next++) {
        const { pixels, record } = await this.decodeFrom(requests[b].record);
        copySample(pixels, out.subarray(b * length), this.width, requests[b].flip);
        labels[b] = this.classes.labelOf(this.source.label(record));
      }
    };
    await Promise.all(Array.from({ length: DECODE_AT_ONCE }, worker));
    return labels;
  }

  /** The record, or the first one after it that can be read. */
  private async decodeFrom(record: number): Promise<{ pixels: Uint8Array; record: number }> {
    for (let i = record; ; i = (i + 1) % this.count) {
      if (this.bad.has(i)) continue;
      try {
        return { pixels: await decode(this.source, i, this.options.size, this.options.channels), record: i };
      } catch (error) {
        if (this.bad.has(i)) continue;
        this.bad.add(i);
        this.skipped.push({ file: this.source.key(i), reason: firstLine(error) });
        checkSkipped(this.source, this.skipped, this.options.maxUnreadable);
      }
    }
  }

  close(): Promise<void> {
    return this.source.close();
  }
}

function checkSkipped(source: ImageSource, skipped: readonly { reason: string }[], most: number): void {
  // A single one is always allowed: in a small set it is a large share.
  if (skipped.length <= Math.max(1, most * source.count)) return;
  throw new DataError(
    `${skipped.length} images of ${source.count} in ${source.location} cannot be read, more than data.maxUnreadable = ${most} allows; the first: ${skipped[0].reason}`,
  );
}

/** sha256 over class names, keys, labels and, of single files, sizes. */
async function fingerprintOf(source: ImageSource): Promise<string> {
  const hash = createHash('sha256').update(JSON.stringify(source.classNames));
  for (let i = 0; i < source.count; i++) {
    const key = source.key(i);
    const size = source.kind === 'folder' ? (await fs.stat(path.join(source.location, key))).size : '';
    hash.update(`\n${key}\0${source.label(i)}\0${size}`);
  }
  return hash.digest('hex');
}

async function unaskedSize(source: ImageSource): Promise<number> {
  const size = await firstSize(source);
  if (size <= LARGEST_UNASKED) return size;
  await source.close();
  throw new DataError(
    `The images in ${source.location} have ${size} pixels a side. Train on smaller ones, such as --set data.size=32, or on latents: dit-moe-trainer encode ${source.location} --out latents.`,
  );
}

async function firstSize(source: ImageSource): Promise<number> {
  let reason = 'there is none.';
  for (let i = 0; i < source.count; i++) {
    try {
      const { width, height } = await decodeImage(await source.read(i), source.key(i));
      return Math.min(width, height);
    } catch (error) {
      // An unreadable file is reported when it is its turn.
      reason = firstLine(error);
    }
  }
  throw new DataError(`No image in ${source.location} can be read: ${reason}`);
}

/** Planar pixels `[channels, size, size]` of ADM's centre crop. */
async function decode(source: ImageSource, i: number, size: number, channels: 1 | 3): Promise<Uint8Array> {
  const { data } = centerCrop(await decodeImage(await source.read(i), source.key(i)), size);
  const plane = size * size;
  const planar = new Uint8Array(channels * plane);
  for (let p = 0; p < plane; p++) {
    const [r, g, b] = [data[3 * p], data[3 * p + 1], data[3 * p + 2]];
    if (channels === 1) {
      // Rec. 601, which leaves grey as it is.
      planar[p] = Math.round(0.299 * r + 0.587 * g + 0.114 * b);
      continue;
    }
    planar[p] = r;
    planar[plane + p] = g;
    planar[2 * plane + p] = b;
  }
  return planar;
}

/** Pixels 0..255 as [-1, 1], mirrored on request. */
function copySample(pixels: Uint8Array, out: Float32Array, width: number, flip: boolean): void {
  for (let i = 0; i < pixels.length; i++) {
    const column = i % width;
    out[i] = pixels[flip ? i - column + (width - 1 - column) : i] / 127.5 - 1;
  }
}

function firstLine(error: unknown): string {
  return String((error as Error).message ?? error).split('\n')[0];
}
