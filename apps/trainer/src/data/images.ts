/**
 * Image files as training data: decoded once into memory where they fit, else again whenever they are asked for.
 *
 * An image that cannot be decoded is skipped, counted and named. In memory it leaves the set; on demand the record after it takes its
 * place, which is a function of the data alone, so a resumed run skips the same ones.
 */
import path from 'node:path';
import { centerCrop } from '@dit-moe/data';
import { DECODE_AT_ONCE, describeImages, fingerprintOf, type ImageSource, type ImageSourceOptions, openImages } from '@dit-moe/data/node';
import { DataError } from '../errors.js';
import { type Classes, classesOf } from './classes.js';
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

/** Images in memory. */
export interface ImageDataset extends DataSource {
  /** Pixels 0..255, `[count, channels, size, size]`. */
  readonly pixels: Uint8Array;
  /** Class of each image. */
  readonly labels: Int32Array;
}

/** Pixels up to which the size of the images is taken without being asked for: a model of pixels of photographs would not fit any memory. */
const LARGEST_UNASKED = 64;

/**
 * Opens an image folder, tar shards, parquet files or arrays for training.
 * @throws DataError if there is nothing to train on, or too much of it cannot be read
 */
export async function openImageData(location: string, options: ImageOptions): Promise<DataSource> {
  const source = await openSource(location, options);
  try {
    const fingerprint = `files:${await fingerprintOf(source)}`;
    const size = options.size ?? (await unaskedSize(source, options));
    const bytes = source.count * options.channels * size * size;
    const sized = { ...options, size };
    return bytes <= options.memory * 2 ** 20
      ? await loadImages(source, sized, fingerprint)
      : new StreamedImages(source, sized, fingerprint);
  } catch (error) {
    await source.close();
    throw error;
  }
}

/** Loads all images below `location` into memory, see {@link openImageData}. */
export async function loadImageFolder(location: string, options: { size?: number; channels?: 1 | 3 } = {}): Promise<ImageDataset> {
  const source = await openSource(location);
  const sized = { channels: options.channels ?? 3, memory: Number.POSITIVE_INFINITY, maxUnreadable: 1 } as const;
  return loadImages(source, { ...sized, size: options.size ?? (await firstSize(source, sized)) }, '');
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

function classesOfSource(source: ImageSource): Classes {
  const labels = function* () {
    for (let i = 0; i < source.count; i++) yield source.label(i);
  };
  return classesOf(source.location, source.classNames, labels());
}

async function loadImages(source: ImageSource, options: ImageOptions & { size: number }, fingerprint: string): Promise<ImageDataset> {
  const { channels, size } = options;
  const length = channels * size * size;
  const { names: classNames, labelOf } = classesOfSource(source);
  const pixels = new Uint8Array(source.count * length);
  const labels: number[] = [];
  const skipped: { file: string; reason: string }[] = [];
  for (let start = 0; start < source.count; start += DECODE_AT_ONCE) {
    const chunk = Array.from({ length: Math.min(DECODE_AT_ONCE, source.count - start) }, (_, i) => decode(source, start + i, options));
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
  if (labels.length === 0) throw unreadableSet(source, skipped[0].reason);
  const used = pixels.subarray(0, labels.length * length);
  const labelArray = Int32Array.from(labels);
  return {
    ...{ pixels: used, labels: labelArray, classNames, count: labels.length, channels, height: size, width: size, skipped, fingerprint },
    summary: describeImages(source),
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
  readonly summary: string;
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
    this.summary = describeImages(source);
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

function checkSkipped(source: ImageSource, skipped: readonly { reason: string }[], most: number): void {
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
const unreadableSet = (source: ImageSource, reason: string): DataError =>
  new DataError(`No image in ${source.location} can be read; the first: ${reason}`);

/** Planar pixels `[channels, size, size]` of ADM's centre crop. */
async function decode(source: ImageSource, i: number, options: ImageOptions & { size: number }): Promise<Uint8Array> {
  const { size, channels } = options;
  const { data } = centerCrop(await source.picture(i, decodingOf(options)), size);
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
