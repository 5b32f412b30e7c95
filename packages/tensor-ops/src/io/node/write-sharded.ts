/** Writing weights as several safetensors files with an index, as the Hugging Face libraries do. */
import { createHash } from 'node:crypto';
import path from 'node:path';
import { safetensorsDtypes } from '../safetensors.js';
import { writeFileAtomically } from './atomic.js';
import { type TensorSource, type WrittenFile, writeSafetensors } from './safetensors-file.js';

/** Size that the Hugging Face libraries split at by default. */
const SHARD_BYTES = 5e9;

/** Name of a shard, counted from 0. */
export function shardName(stem: string, shard: number, shards: number): string {
  const number = (n: number) => String(n).padStart(5, '0');
  return `${stem}-${number(shard + 1)}-of-${number(shards)}.safetensors`;
}

/**
 * Writes `<stem>.safetensors.index.json`, which is to come after the shards, so that it never names files that are not there.
 * @param weightMap file of every tensor
 * @param totalBytes of all tensors
 */
export async function writeShardIndex(
  folder: string,
  stem: string,
  weightMap: Readonly<Record<string, string>>,
  totalBytes: number,
): Promise<WrittenFile & { path: string }> {
  const index = path.join(folder, `${stem}.safetensors.index.json`);
  const text = `${JSON.stringify({ metadata: { total_size: totalBytes }, weight_map: weightMap }, null, 2)}\n`;
  await writeFileAtomically(index, text);
  return { path: index, bytes: Buffer.byteLength(text), sha256: createHash('sha256').update(text).digest('hex') };
}

/**
 * Writes `<stem>.safetensors`, or, if the tensors have more than `shardBytes`, `<stem>-00001-of-0000N.safetensors` and so on,
 * and last their index.
 * @param metadata stored in every file
 * @param shardBytes most bytes of tensors per file, unless one tensor alone has more
 * @returns the path to open: the index, or the only file
 * @throws FormatError if a tensor's bytes do not fit its shape
 */
export async function writeShardedSafetensors(
  folder: string,
  stem: string,
  tensors: readonly TensorSource[],
  metadata: Readonly<Record<string, string>> = {},
  shardBytes = SHARD_BYTES,
): Promise<string> {
  const shards: TensorSource[][] = [[]];
  let total = 0;
  let size = 0;
  for (const tensor of tensors) {
    const bytes = tensor.shape.reduce((product, n) => product * n, 1) * safetensorsDtypes[tensor.dtype];
    if (size + bytes > shardBytes && shards.at(-1)!.length > 0) {
      shards.push([]);
      size = 0;
    }
    shards.at(-1)!.push(tensor);
    size += bytes;
    total += bytes;
  }
  const fileOf = (i: number) => (shards.length === 1 ? `${stem}.safetensors` : shardName(stem, i, shards.length));
  for (const [i, shard] of shards.entries()) await writeSafetensors(path.join(folder, fileOf(i)), shard, metadata);
  if (shards.length === 1) return path.join(folder, fileOf(0));
  const weightMap = Object.fromEntries(shards.flatMap((shard, i) => shard.map(({ name }) => [name, fileOf(i)])));
  return (await writeShardIndex(folder, stem, weightMap, total)).path;
}
