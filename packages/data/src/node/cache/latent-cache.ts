/** Reading a latent cache: any image at any time, in records of one size. */
import { ArgumentError } from '@dit-moe/tensor-ops';
import { contentOf } from '../sources/content.js';
import { LatentCacheError, type LatentsHeader, numShards, readHeader, shardName } from './header.js';
import { LatentShard, type SkippedImage } from './shard.js';

/** Records read at once: more than Node has threads for files, so that none of them waits. */
const READS_AT_ONCE = 8;

/** How a cache is opened. */
export interface LatentCacheOptions {
  /** Leave out shards that are not there yet instead of refusing (default false). */
  allowMissing?: boolean;
}

/** An open latent cache. Its images are the usable ones of the source, in the source's order. */
export class LatentCache {
  /** Class number of each image, -1 where there is none. */
  readonly labels: Int32Array;
  /** First image of each shard. */
  private readonly starts: number[] = [];
  private readonly scratch: Uint8Array[];

  private constructor(
    readonly folder: string,
    readonly header: LatentsHeader,
    private readonly shards: readonly LatentShard[],
  ) {
    let count = 0;
    for (const shard of shards) {
      this.starts.push(count);
      count += shard.count;
    }
    this.labels = new Int32Array(count);
    for (const [i, shard] of shards.entries()) this.labels.set(shard.labels, this.starts[i]);
    const bytes = this.momentsSize * (header.dtype === 'F16' ? 2 : 4);
    this.scratch = Array.from({ length: READS_AT_ONCE }, () => new Uint8Array(bytes));
  }

  /**
   * Opens all shards; no moments are read.
   * @throws LatentCacheError if it is no cache, shards are missing, or one was made with other settings
   * @throws FormatError if a shard is damaged
   */
  static async open(folder: string, { allowMissing = false }: LatentCacheOptions = {}): Promise<LatentCache> {
    const header = await readHeader(folder);
    const total = numShards(header);
    const shards: LatentShard[] = [];
    const missing: string[] = [];
    try {
      for (let i = 0; i < total; i++) {
        try {
          shards.push(await LatentShard.open(folder, header, i));
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
          missing.push(shardName(i, total));
        }
      }
      if (missing.length > 0 && !allowMissing)
        throw new LatentCacheError(
          folder,
          `${missing.length} of ${total} shards are missing, the first is ${missing[0]}; run encode again, it goes on where it stopped.`,
        );
      const cache = new LatentCache(folder, header, shards);
      if (cache.count === 0) throw new LatentCacheError(folder, 'it has no image.');
      return cache;
    } catch (error) {
      await Promise.all(shards.map((shard) => shard.close()));
      throw error;
    }
  }

  get count(): number {
    return this.labels.length;
  }

  /** Name of each class by its number; empty if the source had none. */
  get classNames(): readonly string[] {
    return this.header.classNames;
  }

  /** Images that were left out, with the reasons. */
  get skipped(): readonly SkippedImage[] {
    return this.shards.flatMap((shard) => shard.skipped);
  }

  /** Numbers per record. */
  get momentsSize(): number {
    return this.header.momentsShape.reduce((product, n) => product * n, 1);
  }

  /** The name of an image in its source. */
  async key(index: number): Promise<string> {
    const [shard, position] = this.locate(index);
    return (await shard.keys())[position];
  }

  /**
   * Moments of images, in the order asked for; records are read at random.
   *
   * @param indices of images, repetitions allowed
   * @param flips for each of them 1 for the mirrored image (default: none); the cache must hold it
   * @param into memory for the result (default: of its own)
   * @returns `[B, 2C, h, w]`: mean before log variance, as the encoder gives them, neither sampled nor scaled
   */
  async read(indices: ArrayLike<number>, flips?: ArrayLike<number | boolean>, into?: Float32Array): Promise<Float32Array> {
    const size = this.momentsSize;
    const out = into ?? new Float32Array(indices.length * size);
    if (out.length < indices.length * size)
      throw new ArgumentError('LatentCache.read: into', `at least ${indices.length * size} numbers`, out.length);
    const flipOf = (i: number): number => Number(flips?.[i] ?? 0);
    for (let i = 0; i < indices.length; i++)
      if (flipOf(i) >= this.header.flips)
        throw new LatentCacheError(this.folder, 'it has no mirrored images; encode with both flips, or read without.');
    let next = 0;
    const work = async (scratch: Uint8Array): Promise<void> => {
      while (next < indices.length) {
        const i = next++;
        const [shard, position] = this.locate(indices[i]);
        await shard.readMoments(position, flipOf(i), out.subarray(i * size, (i + 1) * size), scratch);
      }
    };
    // Taken while this read runs, so that reads may overlap.
    const memory = this.scratch.splice(0);
    try {
      while (memory.length < READS_AT_ONCE) memory.push(new Uint8Array(size * (this.header.dtype === 'F16' ? 2 : 4)));
      await Promise.all(memory.map(work));
    } finally {
      this.scratch.splice(0, READS_AT_ONCE, ...memory);
    }
    return out;
  }

  /** Digest of what the shards hold, see `contentOf`. */
  content(): Promise<string> {
    return contentOf(this.shards.map(({ path }) => ({ file: path })));
  }

  async close(): Promise<void> {
    await Promise.all(this.shards.map((shard) => shard.close()));
  }

  private locate(index: number): [LatentShard, number] {
    if (!Number.isInteger(index) || index < 0 || index >= this.count)
      throw new ArgumentError('LatentCache: index', `an integer in [0, ${this.count})`, index);
    let low = 0;
    for (let high = this.shards.length; high - low > 1; ) {
      const middle = (low + high) >> 1;
      if (this.starts[middle] <= index) low = middle;
      else high = middle;
    }
    return [this.shards[low], index - this.starts[low]];
  }
}
