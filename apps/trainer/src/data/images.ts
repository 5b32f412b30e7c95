/**
 * Image files as training data: decoded once into memory where they fit, else again whenever they are asked for.
 *
 * An image that cannot be decoded is skipped, counted and named; the record after it takes its place. That is a function of the data alone:
 * a resumed run skips the same ones, and however images are held, the same are trained on in the same order.
 */

import path from 'node:path';
import { centerCrop, toGrey } from '@dit-moe/data';
import { DECODE_AT_ONCE, describeImages, fingerprintOf, type ImageSource, type ImageSourceOptions, openImages } from '@dit-moe/data/node';
import { DataError } from '@dit-moe/kit';
import { type Classes, classesOf } from './classes.js';
import type { Part } from './part.js';
import type { DataSource, SampleRequest } from './source.js';

export interface ImageOptions extends ImageSourceOptions {
  /** Height and width (default: the smaller side of the first readable image). */
  size?: number | undefined;
  /** 1 (grey) or 3 (RGB). */
  channels: 1 | 3;
  /** MiB of decoded images to keep in memory. */
  memory: number;
  /** Share of unreadable images beyond which there is an error. */
  maxUnreadable: number;
  /** Turn images as their EXIF orientation says (default false: as the reference). */
  applyOrientation?: boolean;
}

/** Images in memory, the readable ones. */
export interface ImageDataset {
  readonly count: number;
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  readonly classNames: readonly string[];
  /** Pixels 0..255, `[count, channels, size, size]`. */
  readonly pixels: Uint8Array;
  /** Class of each image. */
  readonly labels: Int32Array;
}

/** The images of a data set, or of a part of it, by their numbers in it. */
interface Images extends Pick<ImageSource, 'location' | 'count' | 'key' | 'label' | 'picture' | 'close'> {
  /** Of the whole set. */
  readonly classes: Classes;
  readonly summary: string;
}

/** Pixels up to which the size of the images is taken without being asked for: a model of pixels of photographs would not fit any memory. */
const LARGEST_UNASKED = 64;

/**
 * Opens an image folder, tar shards, parquet files or arrays for training.
 * @param part which of the images (default all)
 * @throws DataError if there is nothing to train on, or too much of it cannot be read
 */
export async function openImageData(location: string, options: ImageOptions, part?: Part): Promise<DataSource> {
  const source = await openSource(location, options);
  return closedOnError(source, async () => {
    const fingerprint = `files:${await fingerprintOf(source)}${part === undefined ? '' : ` ${part.name}`}`;
    return dataOf(source, options, part, fingerprint);
  });
}

/** The same for images that are only looked at: it costs no fingerprint, and has none. */
export async function openHeldOutImages(location: string, options: ImageOptions, part?: Part): Promise<DataSource> {
  const source = await openSource(location, options);
  return closedOnError(source, () => dataOf(source, options, part, ''));
}

async function closedOnError<T>(source: ImageSource, action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (error) {
    await source.close();
    throw error;
  }
}

async function dataOf(source: ImageSource, options: ImageOptions, part: Part | undefined, fingerprint: string): Promise<DataSource> {
  const size = options.size ?? (await unaskedSize(source, options));
  const images = imagesOf(source, part);
  const bytes = images.count * options.channels * size * size;
  const sized = { ...options, size };
  return bytes <= options.memory * 2 ** 20 ? loadedImages(images, sized, fingerprint) : new StreamedImages(images, sized, fingerprint);
}

/** Loads all images below `location` into memory; unreadable ones are left out. */
export async function loadImageFolder(location: string, options: { size?: number; channels?: 1 | 3 } = {}): Promise<ImageDataset> {
  const source = await openSource(location);
  const sized = { channels: options.channels ?? 3, memory: Number.POSITIVE_INFINITY, maxUnreadable: 1 } as const;
  const size = options.size ?? (await firstSize(source, sized));
  const { pixels, labels, images } = await loadImages(imagesOf(source), { ...sized, size });
  return { pixels, labels, classNames: images.classes.names, count: labels.length, channels: sized.channels, height: size, width: size };
}

/**
 * Opens images to train on.
 * @throws ImageSourceError if they cannot be used
 * @throws DataError if a class has none
 */
export async function openSource(location: string, options: ImageSourceOptions = {}): Promise<ImageSource> {
  const source = await openImages(location, options);
  const { emptyClasses } = source;
  if (emptyClasses.length === 0) return source;
  await source.close();
  // More likely a mistake than a wish: a model would learn nothing of it, or others would get its number without it.
  const [first] = emptyClasses;
  throw new DataError(
    `The class folder ${path.join(source.location, first)} is empty, or has no image that can be read${emptyClasses.length > 1 ? `, and ${emptyClasses.length - 1} others` : ''}. Add images or remove the folder. Found: ${describeImages(source)}.`,
  );
}

/** What a part of a source (default all of it) is made of. Classes are those of the whole. */
function imagesOf(source: ImageSource, part?: Part): Images {
  const labels = function* () {
    for (let i = 0; i < source.count; i++) yield source.label(i);
  };
  const { location } = source;
  const classes = classesOf(location, source.classNames, labels());
  const close = () => source.close();
  if (part === undefined)
    return {
      ...{ location, count: source.count, classes, summary: describeImages(source), close },
      key: (i) => source.key(i),
      label: (i) => source.label(i),
      picture: (i, decoding) => source.picture(i, decoding),
    };
  const records = part.recordsOf(source.count);
  return {
    ...{ location, count: records.length, classes, summary: `${describeImages(source)}; ${part.describe(source.count)}`, close },
    key: (i) => source.key(records[i]),
    label: (i) => source.label(records[i]),
    picture: (i, decoding) => source.picture(records[i], decoding),
  };
}

/** Decodes all images, and closes their source. */
async function loadImages(images: Images, options: ImageOptions & { size: number }) {
  const { channels, size } = options;
  const length = channels * size * size;
  const pixels = new Uint8Array(images.count * length);
  const labels: number[] = [];
  /** Of each image the row of its pixels; -1 if it cannot be read. */
  const rows = new Int32Array(images.count).fill(-1);
  const skipped: { file: string; reason: string }[] = [];
  for (let start = 0; start < images.count; start += DECODE_AT_ONCE) {
    const chunk = Array.from({ length: Math.min(DECODE_AT_ONCE, images.count - start) }, (_, i) => decode(images, start + i, options));
    for (const [i, result] of (await Promise.allSettled(chunk)).entries()) {
      if (result.status === 'fulfilled') {
        rows[start + i] = labels.length;
        pixels.set(result.value, labels.length * length);
        labels.push(images.classes.labelOf(images.label(start + i)));
      } else {
        skipped.push({ file: images.key(start + i), reason: firstLine(result.reason) });
        checkSkipped(images, skipped, options.maxUnreadable);
      }
    }
  }
  await images.close();
  if (labels.length === 0) throw unreadableSet(images, skipped[0].reason);
  return { images, pixels: pixels.subarray(0, labels.length * length), labels: Int32Array.from(labels), rows, skipped };
}

async function loadedImages(source: Images, options: ImageOptions & { size: number }, fingerprint: string): Promise<DataSource> {
  const { images, pixels, labels, rows, skipped } = await loadImages(source, options);
  const { channels, size } = options;
  const length = channels * size * size;
  const { count, summary, classes } = images;
  /** Row of the record, or of the first one after it that could be read. */
  const rowOf = (record: number): number => {
    let i = record;
    while (rows[i] === -1) i = (i + 1) % count;
    return rows[i];
  };
  return {
    ...{ classNames: classes.names, count, channels, height: size, width: size, skipped, fingerprint, summary },
    async read(requests, out) {
      for (const [b, { record, flip }] of requests.entries()) {
        const row = rowOf(record);
        copySample(pixels.subarray(row * length, (row + 1) * length), out.subarray(b * length), size, flip);
      }
      return Int32Array.from(requests, ({ record }) => labels[rowOf(record)]);
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
  readonly summary: string;
  private readonly bad = new Set<number>();

  constructor(
    private readonly source: Images,
    private readonly options: ImageOptions & { size: number },
    readonly fingerprint: string,
  ) {
    this.count = source.count;
    this.channels = options.channels;
    this.height = options.size;
    this.width = options.size;
    this.classNames = source.classes.names;
    this.summary = source.summary;
  }

  async read(requests: readonly SampleRequest[], out: Float32Array): Promise<Int32Array> {
    const labels = new Int32Array(requests.length);
    const length = this.channels * this.height * this.width;
    let next = 0;
    const worker = async () => {
      for (let b = next++; b < requests.length; b = next++) {
        const { pixels, record } = await this.decodeFrom(requests[b].record);
        copySample(pixels, out.subarray(b * length), this.width, requests[b].flip);
        labels[b] = this.source.classes.labelOf(this.source.label(record));
      }
    };
    await Promise.all(Array.from({ length: DECODE_AT_ONCE }, worker));
    return labels;
  }

  /** The record, or the first one after it that can be read. */
  private async decodeFrom(record: number): Promise<{ pixels: Uint8Array; record: number }> {
    for (let i = record; this.bad.size < this.count; i = (i + 1) % this.count) {
      if (this.bad.has(i)) continue;
      try {
        return { pixels: await decode(this.source, i, this.options), record: i };
      } catch (error) {
        if (this.bad.has(i)) continue;
        this.bad.add(i);
        this.skipped.push({ file: this.source.key(i), reason: firstLine(error) });
        checkSkipped(this.source, this.skipped, this.options.maxUnreadable);
      }
    }
    throw unreadableSet(this.source, this.skipped[0].reason);
  }

  close(): Promise<void> {
    return this.source.close();
  }
}

function checkSkipped(source: Images, skipped: readonly { reason: string }[], most: number): void {
  // A single one is always allowed: in a small set it is a large share.
  if (skipped.length <= Math.max(1, most * source.count)) return;
  throw new DataError(
    `${skipped.length} images of ${source.count} in ${source.location} cannot be read, more than data.maxUnreadable = ${most} allows; the first: ${skipped[0].reason}`,
  );
}

async function unaskedSize(source: ImageSource, options: ImageOptions): Promise<number> {
  const size = await firstSize(source, options);
  if (size <= LARGEST_UNASKED) return size;
  throw new DataError(
    `The images in ${source.location} have ${size} pixels a side. Train on smaller ones, such as --set data.size=32, or on latents: dit-moe-trainer encode ${source.location} --out latents.`,
  );
}

async function firstSize(source: ImageSource, options: ImageOptions): Promise<number> {
  let reason = 'there is none.';
  for (let i = 0; i < source.count; i++) {
    try {
      const { width, height } = await source.picture(i, decodingOf(options));
      return Math.min(width, height);
    } catch (error) {
      // An unreadable file is reported when it is its turn.
      reason = firstLine(error);
    }
  }
  throw unreadableSet(source, reason);
}

const decodingOf = ({ applyOrientation = false }: ImageOptions) => ({ applyOrientation });
const unreadableSet = (source: { location: string }, reason: string): DataError =>
  new DataError(`No image in ${source.location} can be read; the first: ${reason}`);

/** Planar pixels `[channels, size, size]` of ADM's centre crop. */
async function decode(source: Images, i: number, options: ImageOptions & { size: number }): Promise<Uint8Array> {
  const { size, channels } = options;
  const cropped = centerCrop(await source.picture(i, decodingOf(options)), size);
  const { data } = channels === 1 ? toGrey(cropped) : cropped;
  const plane = size * size;
  const planar = new Uint8Array(channels * plane);
  for (let p = 0; p < plane; p++) for (let c = 0; c < channels; c++) planar[c * plane + p] = data[channels * p + c];
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
