/** The finished set as one .npz in the layout of ADM's evaluator: `arr_0` uint8 `[N, H, W, 3]`, `arr_1` the labels as int64. */

import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { OutputError } from '@dit-moe/kit';
import { writeNpz } from '@dit-moe/tensor-ops/io/node';
import { type Manifest, shardCount, shardRange } from './manifest.js';
import { readMarker, shardFile, shardHeader } from './shards.js';

/** The evaluator wants colour; grey pixels are repeated. */
const CHANNELS = 3;

/**
 * Streams all shards into `target`, checking each against its marker on the way; a set of any size needs little memory.
 * @param labels of all images
 * @throws OutputError for a shard that is missing or damaged; an older `target` is then kept
 */
export async function mergeShards(
  folder: string,
  manifest: Manifest,
  labels: readonly number[],
  target: string,
  onShard: (done: number) => void = () => {},
): Promise<void> {
  const { images, height, width, channels } = manifest;
  async function* pixels(): AsyncGenerator<Uint8Array> {
    for (let shard = 0; shard < shardCount(manifest); shard++) {
      const file = shardFile(folder, shard);
      const marker = await readMarker(folder, manifest, shard);
      if (marker === undefined) throw new OutputError(`Shard ${shard} is not finished: run "generate" again.`);
      const hash = createHash('sha256');
      let skip = shardHeader(manifest, shard).length;
      const stream = createReadStream(file, { highWaterMark: 2 ** 20 });
      try {
        for await (const chunk of stream as AsyncIterable<Uint8Array>) {
          hash.update(chunk);
          const start = Math.min(skip, chunk.length);
          skip -= start;
          if (start < chunk.length) yield toColour(chunk.subarray(start), channels);
        }
      } catch (cause) {
        throw new OutputError(`Cannot read ${file}: ${(cause as Error).message}`, { cause });
      }
      if (hash.digest('hex') !== marker.sha256)
        throw new OutputError(`${file} is damaged: its sha256 is not that of its marker. Run "generate" again, which makes it anew.`);
      onShard(shard + 1);
    }
  }
  function* labelBytes(): Generator<Uint8Array> {
    for (let shard = 0; shard < shardCount(manifest); shard++) {
      const { from, to } = shardRange(manifest, shard);
      const part = BigInt64Array.from(labels.slice(from, to), BigInt);
      yield new Uint8Array(part.buffer);
    }
  }
  await writeNpz(target, [
    { name: 'arr_0', dtype: 'U8', shape: [images, height, width, CHANNELS], chunks: pixels },
    { name: 'arr_1', dtype: 'I64', shape: [images], chunks: labelBytes },
  ]);
}

function toColour(pixels: Uint8Array, channels: number): Uint8Array {
  if (channels === CHANNELS) return pixels;
  const colour = new Uint8Array(pixels.length * CHANNELS);
  for (let i = 0; i < pixels.length; i++) colour.fill(pixels[i], i * CHANNELS, (i + 1) * CHANNELS);
  return colour;
}
