/**
 * Fills a latent cache: image files in, moments of their posteriors out, shard by shard.
 *
 * A shard depends on its range of the source only, never on who writes it, so that any number of workers can share the shards, and
 * a run that was stopped goes on with the first shard that is missing.
 */
import fs from 'node:fs/promises';
import path from 'node:path';
import { ArgumentError, DitMoeError } from '@dit-moe/tensor-ops';
import { TEMPORARY_PREFIX } from '@dit-moe/tensor-ops/io/node';
import { flipped, type Pixels } from '../../pictures/pixels.js';
import { inOrder } from '../in-order.js';
import { ImageError } from '../pictures/image-error.js';
import { cropped } from '../pictures/preprocess.js';
import type { ImageSource } from '../sources/image-source.js';
import { agreeOnHeader, LatentCacheError, type LatentsHeader, numShards, shardName } from './header.js';
import { LatentShard, type ShardContent, type SkippedImage, writeShard } from './shard.js';

/** Share of unusable images above which a run is given up: more are a wrong folder rather than a few bad files. */
export const DEFAULT_MAX_SKIPPED = 0.01;

/** What is encoded, where to, and how the work is shared. */
export interface WriteLatentsOptions {
  source: ImageSource;
  /** Made if it is missing. */
  folder: string;
  header: LatentsHeader;
  /** Moments `[B, 2C, h, w]` of pixels `[B, size, size, 3]`; B is always `batchSize`. */
  encode(pixels: Uint8Array): Promise<Float32Array>;
  /** Pictures per call of `encode`; a mirrored one counts. */
  batchSize: number;
  /** Shards to write, from the first up to before the last (default: all). */
  shards?: readonly [number, number];
  /** Share of the images of those shards that may be unusable (default {@link DEFAULT_MAX_SKIPPED}). */
  maxSkipped?: number;
  /** Stops after the batch that is being encoded; the shard at hand is not written. */
  signal?: AbortSignal;
  onProgress?(progress: LatentsProgress): void;
}

/** How far a worker is. */
export interface LatentsProgress {
  /** Images of this worker's shards: done in this run or found done, and all. */
  done: number;
  total: number;
  skipped: number;
  /** Images encoded by this run. */
  encoded: number;
}

/** What a worker did. */
export interface LatentsResult extends LatentsProgress {
  skippedImages: readonly SkippedImage[];
  /** Whether the signal stopped it. */
  interrupted: boolean;
}

/** Too many images could not be used. */
export class TooManySkippedError extends DitMoeError {
  static override readonly code = 'E_TOO_MANY_SKIPPED';
  readonly skippedImages: readonly SkippedImage[];

  constructor(skipped: readonly SkippedImage[], total: number, share: number) {
    const shown = skipped.slice(0, 5).map(({ key, reason }) => `\n  ${key}: ${reason}`);
    super(
      `${skipped.length} of ${total} images cannot be used, more than ${100 * share} %:${shown.join('')}${skipped.length > 5 ? '\n  ...' : ''}\nAllow more only if that is what you expect.`,
    );
    this.skippedImages = skipped;
  }
}

/**
 * Writes the shards that are missing.
 * @throws LatentCacheError if the folder holds latents made with other settings
 * @throws TooManySkippedError as soon as the share is exceeded; finished shards stay
 */
export async function writeLatents(options: WriteLatentsOptions): Promise<LatentsResult> {
  const { source, folder, header, maxSkipped = DEFAULT_MAX_SKIPPED, onProgress } = options;
  const all = numShards(header);
  const [first, last] = options.shards ?? [0, all];
  if (!(Number.isInteger(first) && Number.isInteger(last) && first >= 0 && first <= last && last <= all))
    throw new ArgumentError('writeLatents: shards', `a range within 0..${all}`, `${first}..${last}`);
  if (!(maxSkipped >= 0 && maxSkipped <= 1)) throw new ArgumentError('writeLatents: maxSkipped', 'a share in [0, 1]', maxSkipped);
  await agreeOnHeader(folder, header);
  const begin = (shard: number): number => Math.min(source.count, shard * header.shardSize);
  const total = begin(last) - begin(first);
  const skippedImages: SkippedImage[] = [];
  let done = 0;
  let encoded = 0;
  const result = (interrupted: boolean): LatentsResult => ({
    done,
    total,
    skipped: skippedImages.length,
    encoded,
    skippedImages,
    interrupted,
  });
  const skip = (images: readonly SkippedImage[]): void => {
    skippedImages.push(...images);
    if (skippedImages.length > maxSkipped * total) throw new TooManySkippedError(skippedImages, total, maxSkipped);
  };
  const advance = (to: number, work: boolean): void => {
    const before = done;
    done = to - begin(first);
    if (work) encoded += done - before;
    onProgress?.({ done, total, skipped: skippedImages.length, encoded });
  };
  for (let shard = first; shard < last; shard++) {
    const [from, to] = [begin(shard), begin(shard + 1)];
    const finished = await findShard(folder, header, shard);
    if (finished !== undefined) {
      skip(finished.skipped);
      advance(to, false);
      continue;
    }
    const content = await encodeShard(
      options,
      from,
      to,
      (image) => skip([image]),
      (next) => advance(next, true),
    );
    if (content === undefined) return result(true);
    await writeShard(folder, header, shard, content);
  }
  return result(false);
}

/** What a finished shard left out; `undefined` if it is still to be made. Pieces that a dead process left of it are removed. */
async function findShard(folder: string, header: LatentsHeader, shard: number): Promise<{ skipped: readonly SkippedImage[] } | undefined> {
  const name = shardName(shard, numShards(header));
  const names = await fs.readdir(folder);
  for (const left of names.filter((file) => file.startsWith(`${TEMPORARY_PREFIX}${name}-`)))
    await fs.rm(path.join(folder, left), { force: true });
  if (!names.includes(name)) return undefined;
  const open = await LatentShard.open(folder, header, shard);
  await open.close();
  return open;
}

type Prepared = { index: number; picture: Pixels } | SkippedImage;

/** `undefined` if the signal stopped it. */
async function encodeShard(
  { source, header, encode, batchSize, signal }: WriteLatentsOptions,
  from: number,
  to: number,
  onSkip: (image: SkippedImage) => void,
  onDone: (next: number) => void,
): Promise<ShardContent | undefined> {
  const { preprocessing, flips, momentsShape } = header;
  const bytes = 3 * preprocessing.size ** 2;
  const numbers = momentsShape.reduce((product, n) => product * n, 1);
  const images: { index: number; key: string; label: number }[] = [];
  const skipped: SkippedImage[] = [];
  const moments = new Float32Array((to - from) * flips * numbers);
  const batch = new Uint8Array(batchSize * bytes);
  let encoded = 0;
  let waiting = 0;
  const flush = async (): Promise<void> => {
    batch.fill(0, waiting * bytes);
    const found = (await encode(batch)).subarray(0, waiting * numbers);
    checkRange(found, header, images.at(-1)!.key);
    moments.set(found, encoded * numbers);
    encoded += waiting;
    waiting = 0;
  };
  const prepare = async (index: number): Promise<Prepared> => {
    const key = source.key(index);
    try {
      return { index, picture: cropped(await source.picture(index, preprocessing), preprocessing, index) };
    } catch (error) {
      if (error instanceof ImageError) return { index, key, reason: error.reason };
      throw error;
    }
  };
  const ahead = Math.min(64, Math.max(8, 2 * batchSize));
  for await (const prepared of inOrder(from, to, ahead, prepare)) {
    if (signal?.aborted) return undefined;
    if ('reason' in prepared) {
      skipped.push(prepared);
      onSkip(prepared);
    } else {
      const { index, picture } = prepared;
      images.push({ index, key: source.key(index), label: source.label(index) });
      for (const { data } of flips === 2 ? [picture, flipped(picture)] : [picture]) {
        batch.set(data, waiting++ * bytes);
        if (waiting === batchSize) await flush();
      }
    }
    onDone(prepared.index + 1);
  }
  if (waiting > 0) await flush();
  return { images, moments: moments.subarray(0, encoded * numbers), skipped };
}

const LARGEST_F16 = 65504;

function checkRange(moments: Float32Array, { dtype }: LatentsHeader, key: string): void {
  const largest = dtype === 'F16' ? LARGEST_F16 : Number.MAX_VALUE;
  for (const value of moments)
    if (!(Math.abs(value) <= largest))
      throw new LatentCacheError(
        key,
        `this image or one shortly before it has a moment of ${value}, which ${dtype} does not hold: wrong weights, or use f32.`,
      );
}
