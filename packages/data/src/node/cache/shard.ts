/** One file of a latent cache: moments, labels and keys of the usable images of a range of the source. */
import path from 'node:path';
import { encodeTensor, FormatError, type HostData, type SafetensorsDtype, widenFloat16 } from '@dit-moe/tensor-ops/io';
import { SafetensorsFile, type TensorSource, writeSafetensors } from '@dit-moe/tensor-ops/io/node';
import { identityOf, LatentCacheError, type LatentsHeader, numShards, shardName } from './header.js';

/** An image that has no latents. */
export interface SkippedImage {
  /** In the source. */
  index: number;
  key: string;
  reason: string;
}

/** What a shard is written from. */
export interface ShardContent {
  /** Index in the source, key and label of each usable image. */
  images: readonly { index: number; key: string; label: number }[];
  /** Moments of all of them, `[N, flips, 2C, h, w]`. */
  moments: Float32Array;
  skipped: readonly SkippedImage[];
}

/** Writes a shard, whole or not at all. */
export async function writeShard(folder: string, header: LatentsHeader, shard: number, content: ShardContent): Promise<void> {
  const { images, moments, skipped } = content;
  const keys = images.map(({ key }) => Buffer.from(key));
  const ends = new Int32Array(keys.length);
  for (const [i, key] of keys.entries()) ends[i] = (ends[i - 1] ?? 0) + key.length;
  const tensor = (name: string, dtype: SafetensorsDtype, shape: number[], data: HostData): TensorSource => ({
    name,
    dtype,
    shape,
    bytes: () => encodeTensor(data, dtype),
  });
  const count = images.length;
  await writeSafetensors(
    path.join(folder, shardName(shard, numShards(header))),
    [
      tensor('moments', header.dtype, [count, header.flips, ...header.momentsShape], moments),
      tensor(
        'labels',
        'I32',
        [count],
        Int32Array.from(images, ({ label }) => label),
      ),
      tensor(
        'indices',
        'I32',
        [count],
        Int32Array.from(images, ({ index }) => index),
      ),
      tensor('key_ends', 'I32', [count], ends),
      tensor('keys', 'U8', [ends[count - 1] ?? 0], new Uint8Array(Buffer.concat(keys))),
    ],
    { identity: identityOf(header), skipped: JSON.stringify(skipped) },
  );
}

/** An open shard; its labels and indices are in memory. */
export class LatentShard {
  private keysRead: Promise<string[]> | undefined;

  private constructor(
    private readonly file: SafetensorsFile,
    private readonly header: LatentsHeader,
    readonly labels: Int32Array,
    readonly indices: Int32Array,
    readonly skipped: readonly SkippedImage[],
  ) {}

  /**
   * @throws LatentCacheError if it was made with other settings
   * @throws FormatError if it is damaged, or the file system's error
   */
  static async open(folder: string, header: LatentsHeader, shard: number): Promise<LatentShard> {
    const file = await SafetensorsFile.open(path.join(folder, shardName(shard, numShards(header))));
    try {
      const { identity, skipped } = file.metadata;
      if (identity !== identityOf(header))
        throw new LatentCacheError(file.path, 'it was made with other settings than latents.json says; remove it.');
      const { shape, dtype } = file.info('moments');
      const wanted = [shape[0], header.flips, ...header.momentsShape];
      if (shape.join() !== wanted.join() || dtype !== header.dtype)
        throw new FormatError(file.path, `moments are ${dtype} [${shape}], expected ${header.dtype} [${wanted}].`);
      const [labels, indices] = await Promise.all(['labels', 'indices'].map(async (name) => (await file.read(name)).data as Int32Array));
      if (labels.length !== shape[0] || indices.length !== shape[0])
        throw new FormatError(file.path, `it has ${shape[0]} moments, but ${labels.length} labels.`);
      return new LatentShard(file, header, labels, indices, JSON.parse(skipped ?? '[]') as SkippedImage[]);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  get path(): string {
    return this.file.path;
  }

  get count(): number {
    return this.labels.length;
  }

  /**
   * Reads the moments of one image.
   * @param out `[2C, h, w]`
   * @param scratch memory of as many bytes as the record has in the file
   */
  async readMoments(position: number, flip: number, out: Float32Array, scratch: Uint8Array): Promise<void> {
    const bytes = scratch.length;
    const from = (position * this.header.flips + flip) * bytes;
    await this.file.bytes('moments', from, from + bytes, scratch);
    if (this.header.dtype === 'F16') widenFloat16(new Uint16Array(scratch.buffer, scratch.byteOffset, out.length), out);
    else out.set(new Float32Array(scratch.buffer, scratch.byteOffset, out.length));
  }

  /** Keys of all images, read when first asked for. */
  keys(): Promise<string[]> {
    this.keysRead ??= (async () => {
      const [ends, bytes] = await Promise.all([this.file.read('key_ends'), this.file.bytes('keys')]);
      const text = Buffer.from(bytes);
      return Array.from(ends.data as Int32Array, (end, i) => text.toString('utf8', (ends.data[i - 1] as number | undefined) ?? 0, end));
    })();
    return this.keysRead;
  }

  close(): Promise<void> {
    return this.file.close();
  }
}
