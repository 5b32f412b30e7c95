/**
 * Shards on the disk: `shards/00012.npy`, uint8 `[n, H, W, C]`, and `00012.done` with its hash, written last. Both appear whole
 * or not at all, so a worker may be killed at any time, and making a shard twice writes the same bytes again.
 */
import { createHash } from 'node:crypto';
import fs from 'node:fs/promises';
import path from 'node:path';
import { encodeNpyHeader } from '@dit-moe/tensor-ops/io';
import { hashFile, TEMPORARY_PREFIX, writeAtomically, writeFileAtomically } from '@dit-moe/tensor-ops/io/node';
import { integer, object, parseSettings, text, type ValueOf } from '@dit-moe/tensor-ops/settings';
import { type Manifest, manifestHash, shardCount, shardFolder, shardRange } from './manifest.js';

const markerSettings = object({
  images: integer('of the shard', { least: 1 }),
  bytes: integer('of its file', { least: 1 }),
  sha256: text('of its file'),
  manifest: text('hash of the manifest that the shard belongs to'),
});

/** What the done-marker says of its shard. */
export type ShardMarker = ValueOf<typeof markerSettings>;

const shardName = (shard: number): string => String(shard).padStart(5, '0');
export const shardFile = (folder: string, shard: number): string => path.join(shardFolder(folder), `${shardName(shard)}.npy`);
const markerFile = (folder: string, shard: number): string => path.join(shardFolder(folder), `${shardName(shard)}.done`);

/** Header of a shard's file. */
export function shardHeader(manifest: Manifest, shard: number): Uint8Array {
  const { from, to } = shardRange(manifest, shard);
  return encodeNpyHeader('U8', [to - from, manifest.height, manifest.width, manifest.channels]);
}

/** Writes a shard from the pixels of its images, in order, and then its marker. */
export async function writeShard(folder: string, manifest: Manifest, shard: number, pixels: AsyncIterable<Uint8Array>): Promise<void> {
  const { from, to } = shardRange(manifest, shard);
  const hash = createHash('sha256');
  let bytes = 0;
  await writeAtomically(shardFile(folder, shard), async (file) => {
    const append = async (chunk: Uint8Array): Promise<void> => {
      hash.update(chunk);
      bytes += chunk.length;
      await file.appendFile(chunk);
    };
    await append(shardHeader(manifest, shard));
    for await (const chunk of pixels) await append(chunk);
  });
  const marker: ShardMarker = { images: to - from, bytes, sha256: hash.digest('hex'), manifest: manifestHash(manifest) };
  await writeFileAtomically(markerFile(folder, shard), `${JSON.stringify(marker)}\n`);
}

/** The marker of a finished shard of this manifest; `undefined` without one, or if it is unreadable or of another manifest. */
export async function readMarker(folder: string, manifest: Manifest, shard: number): Promise<ShardMarker | undefined> {
  const json = await fs.readFile(markerFile(folder, shard), 'utf8').catch(() => undefined);
  if (json === undefined) return undefined;
  try {
    const marker = parseSettings(markerSettings, JSON.parse(json), 'The marker');
    return marker.manifest === manifestHash(manifest) ? marker : undefined;
  } catch {
    return undefined;
  }
}

/** Whether a shard is there with the bytes that its marker promises. */
export async function isDone(folder: string, manifest: Manifest, shard: number): Promise<boolean> {
  const marker = await readMarker(folder, manifest, shard);
  if (marker === undefined) return false;
  const file = shardFile(folder, shard);
  const size = (await fs.stat(file).catch(() => undefined))?.size;
  return size === marker.bytes && (await hashFile(file)) === marker.sha256;
}

/** Shards without a marker. */
export async function missingShards(folder: string, manifest: Manifest): Promise<number[]> {
  const missing: number[] = [];
  for (let shard = 0; shard < shardCount(manifest); shard++)
    if ((await readMarker(folder, manifest, shard)) === undefined) missing.push(shard);
  return missing;
}

/** Deletes what killed workers left behind; only for a set on which nobody works. */
export async function sweepTemporaries(folder: string): Promise<void> {
  for (const name of await fs.readdir(shardFolder(folder)))
    if (name.startsWith(TEMPORARY_PREFIX)) await fs.rm(path.join(shardFolder(folder), name), { force: true });
}
