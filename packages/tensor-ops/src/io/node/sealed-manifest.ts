/**
 * `manifest.json` of a folder that is written whole: sizes and sha256 of its files, and a sha256 of itself, so that a checkpoint that was
 * cut, flipped or mixed up on its way is noticed before it is used.
 */
import { createHash } from 'node:crypto';
import fs from 'node:fs/promises';
import path from 'node:path';
import { DitMoeError } from '../../errors.js';
import { hashFile } from './hash-file.js';
import type { WrittenFile } from './safetensors-file.js';

/** Name of the file that says what a checkpoint consists of. */
export const MANIFEST = 'manifest.json';

/** A checkpoint is not what was written. */
export class DamagedCheckpointError extends DitMoeError {
  static override readonly code = 'E_CHECKPOINT_DAMAGED';
}

/** What a manifest has besides what its writer says. */
export interface SealedManifest {
  files: Record<string, WrittenFile>;
  /** sha256 of the manifest without this field, as JSON. */
  sha256: string;
}

const hashOf = ({ sha256: _, ...rest }: { files: object; sha256?: string }): string =>
  createHash('sha256').update(JSON.stringify(rest)).digest('hex');

/** The manifest with its own hash. */
export const sealManifest = <M extends { files: Record<string, WrittenFile> }>(manifest: M): M & SealedManifest => ({
  ...manifest,
  sha256: hashOf(manifest),
});

/**
 * Reads the manifest of a folder and checks it against its own hash.
 * @throws DamagedCheckpointError if it cannot be read or is not what was written
 */
export async function readManifest<M extends object = object>(folder: string): Promise<M & SealedManifest> {
  const where = path.join(folder, MANIFEST);
  let manifest: M & SealedManifest;
  try {
    manifest = JSON.parse(await fs.readFile(where, 'utf8'));
  } catch (cause) {
    throw new DamagedCheckpointError(`${where} cannot be read: ${(cause as Error).message}`, { where, cause });
  }
  if (typeof manifest !== 'object' || manifest === null || typeof manifest.files !== 'object' || manifest.files === null)
    throw new DamagedCheckpointError(`${where} is no manifest: it lists no files.`, { where });
  if (manifest.sha256 !== hashOf(manifest))
    throw new DamagedCheckpointError(`${where} is damaged: its sha256 is not that of its content.`, { where });
  return manifest;
}

/**
 * Checks sizes and hashes of a folder's files.
 * @param names some of the manifest's files (default all)
 * @throws DamagedCheckpointError naming the first file that is missing or not what was written
 */
export async function checkFiles(folder: string, { files }: SealedManifest, names: readonly string[] = Object.keys(files)): Promise<void> {
  for (const name of names) {
    const where = path.join(folder, name);
    const damaged = (problem: string): never => {
      throw new DamagedCheckpointError(`${where} ${problem}`, { where });
    };
    const entry = files[name];
    if (entry === undefined) damaged('is not in the manifest.');
    const size = (await fs.stat(where).catch(() => undefined))?.size;
    if (size === undefined) damaged('is missing.');
    if (size !== entry.bytes) damaged(`should have ${entry.bytes} bytes, but has ${size}.`);
    if ((await hashFile(where)) !== entry.sha256) damaged('is damaged: its sha256 is not that of the manifest.');
  }
}

/** Tensors that a folder holds under one name. */
export interface StoredTensors {
  /** The file to open: `name.safetensors`, or the index of its shards. */
  file: string;
  /** That file, and the shards. */
  files: readonly string[];
}

const SHARD = /-\d{5}-of-\d{5}\.safetensors$/;

/** What tensors a manifest lists, by their names without ending. */
export function storedTensors({ files }: SealedManifest): Record<string, StoredTensors> {
  const stored: Record<string, StoredTensors> = {};
  for (const file of Object.keys(files).filter((name) => !SHARD.test(name))) {
    const stem = /^(.+)\.safetensors(\.index\.json)?$/.exec(file)?.[1];
    if (stem === undefined) continue;
    const shards = Object.keys(files).filter((name) => SHARD.test(name) && name.replace(SHARD, '') === stem);
    stored[stem] = { file, files: [file, ...shards] };
  }
  return stored;
}
