/**
 * The manifest of a generated set: everything that determines its bytes, cut into shards. Each worker derives it from its own
 * command line and refuses to work on a set that was begun with another one.
 */

import { createHash } from 'node:crypto';
import fs from 'node:fs/promises';
import path from 'node:path';
import { UsageError } from '@dit-moe/kit';
import { FormatError } from '@dit-moe/tensor-ops/io';
import { makeFolder, writeFileAtomically } from '@dit-moe/tensor-ops/io/node';
import { integer, object, optional, parseSettings, record, text, type ValueOf, word } from '@dit-moe/tensor-ops/settings';

const natural = (description: string) => integer(description, { least: 0 });
const positive = (description: string) => integer(description, { least: 1 });

const byContent = { sha256: text('of the weights'), step: natural('of training') };

const manifestSettings = object({
  format: word([1], 'version of the manifest'),
  images: positive('images of the set'),
  shardSize: positive('images per shard; the last one may be shorter'),
  // Batches begin at the start of a shard, so that who computes what never changes an image.
  batch: positive('images computed together'),
  height: positive('in pixels'),
  width: positive('in pixels'),
  channels: positive('1 or 3'),
  numClasses: positive('of the model'),
  labels: object(
    { policy: word(['uniform', 'balanced', 'list'], 'where labels come from'), sha256: optional(text('of a list')) },
    'of the images',
  ),
  seed: natural('of the noise'),
  settings: record('of the sampler that are not listed here by name'),
  precision: word(['f32', 'bf16', 'int8'], 'of matrix products'),
  model: object(byContent, 'the model by content'),
  guide: optional(object(byContent, 'the weaker model that guidance leads away from, if there is one')),
  // Rounding differs between backends and their versions, so a set is made by one.
  backend: text('what computed'),
});

/** Description of a generated set. */
export type Manifest = ValueOf<typeof manifestSettings>;

export const MANIFEST = 'manifest.json';
/** The labels of a set with the policy `list`. */
export const LABELS = 'labels.txt';

export const hashOf = (content: string | Uint8Array): string => createHash('sha256').update(content).digest('hex');

const encode = (manifest: Manifest): string => `${JSON.stringify(manifest, null, 2)}\n`;

/** Identity of a manifest, which every done-marker repeats. */
export const manifestHash = (manifest: Manifest): string => hashOf(encode(manifest));

/**
 * Reads the manifest of a set.
 * @throws UsageError if there is none
 * @throws FormatError if it is damaged or of another version
 */
export async function readManifest(folder: string): Promise<Manifest> {
  const file = path.join(folder, MANIFEST);
  const json = await fs.readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT' && error.code !== 'ENOTDIR') throw error;
    throw new UsageError(`There is no ${file}. Is ${folder} a folder that "generate --out" has begun?`);
  });
  try {
    return parseSettings(manifestSettings, JSON.parse(json), 'The manifest');
  } catch (cause) {
    throw new FormatError(file, `it is damaged or of another version: ${(cause as Error).message}`, { cause });
  }
}

/**
 * Begins a set, or joins one that was begun with the same manifest.
 * @throws UsageError naming the fields that differ, if the folder holds another set
 * @throws WriteError if the folder cannot be written
 */
export async function openSet(folder: string, manifest: Manifest): Promise<void> {
  const file = path.join(folder, MANIFEST);
  await makeFolder(shardFolder(folder));
  // Several workers may do this at once: they write the same bytes, or the check below finds the difference.
  if ((await fs.stat(file).catch(() => undefined)) === undefined) await writeFileAtomically(file, encode(manifest));
  const found = await readManifest(folder);
  if (manifestHash(found) === manifestHash(manifest)) return;
  const differences = (Object.keys({ ...found, ...manifest }) as (keyof Manifest)[])
    .filter((key) => JSON.stringify(found[key]) !== JSON.stringify(manifest[key]))
    .map((key) => `  ${key}: ${JSON.stringify(found[key])} there, ${JSON.stringify(manifest[key])} asked for`);
  throw new UsageError(`${folder} holds another set:\n${differences.join('\n')}\nUse the same settings, or another --out.`);
}

export const shardFolder = (folder: string): string => path.join(folder, 'shards');
export const shardCount = (manifest: Manifest): number => Math.ceil(manifest.images / manifest.shardSize);
/** Numbers of the images of a shard: `from` to `to - 1`. */
export const shardRange = ({ images, shardSize }: Manifest, shard: number): { from: number; to: number } => ({
  from: shard * shardSize,
  to: Math.min(images, (shard + 1) * shardSize),
});
