/** Folders of the cache of libraries: beside their place while they are filled, then renamed, with a manifest of what is in them. */
import fs from 'node:fs';
import path from 'node:path';
import { TEMPORARY_PREFIX, temporaryName } from '../../io/node/atomic.js';
import type { WrittenFile } from '../../io/node/safetensors-file.js';
import { MANIFEST, sealManifest } from '../../io/node/sealed-manifest.js';
import { LibraryError } from './library-error.js';

/** No fetch takes so long; what is older was left by a process that was killed, on whichever machine that shares the cache. */
const ABANDONED_MS = 24 * 3600 * 1000;

/**
 * Fills `target`, which either exists complete afterwards or not at all, however this process ends and whoever else does the same.
 *
 * @param fill writes into `folder` and gives size and hash of every file; `scratch` is for what is not to stay
 * @param replace whether a folder that is there is exchanged (default: it is as good)
 * @throws LibraryError E_LIBRARY_DISK if the disk is full or may not be written
 */
export async function putInPlace(
  target: string,
  fill: (folder: string, scratch: string) => Promise<Record<string, WrittenFile>>,
  replace = false,
): Promise<void> {
  const parent = path.dirname(target);
  const work = temporaryName(target);
  try {
    fs.mkdirSync(parent, { recursive: true });
    removeAbandoned(parent);
    const [folder, scratch] = ['folder', 'scratch'].map((name) => path.join(work, name));
    fs.mkdirSync(folder, { recursive: true });
    fs.mkdirSync(scratch);
    const files = await fill(folder, scratch);
    // A library that is later cut or exchanged by one of another size is noticed before it is loaded.
    fs.writeFileSync(path.join(folder, MANIFEST), JSON.stringify(sealManifest({ files })));
    // Whoever has the old one loaded keeps it.
    if (replace && fs.existsSync(target)) fs.renameSync(target, path.join(work, 'before'));
    try {
      fs.renameSync(folder, target);
    } catch (error) {
      // Another process was faster; its folder is as good as ours.
      if (!fs.existsSync(target)) throw error;
    }
  } catch (error) {
    throw asDiskError(error, parent);
  } finally {
    fs.rmSync(work, { recursive: true, force: true });
  }
}

function removeAbandoned(parent: string): void {
  for (const name of fs.readdirSync(parent)) {
    const left = path.join(parent, name);
    if (
      name.startsWith(TEMPORARY_PREFIX) &&
      Date.now() - (fs.statSync(left, { throwIfNoEntry: false })?.mtimeMs ?? Date.now()) > ABANDONED_MS
    )
      fs.rmSync(left, { recursive: true, force: true });
  }
}

function asDiskError(error: unknown, parent: string): unknown {
  const { code } = error as NodeJS.ErrnoException;
  if (code === 'ENOSPC' || code === 'EDQUOT') return noSpace(parent, error);
  if (code === 'EACCES' || code === 'EROFS')
    return new LibraryError('E_LIBRARY_DISK', `The cache folder ${parent} cannot be written. Set DIT_MOE_CACHE_DIR to a folder of yours.`, {
      cause: error,
    });
  return error;
}

/** @param detail how much is there and how much is needed, where that is known */
export const noSpace = (parent: string, cause?: unknown, detail = 'libtensorflow needs 1.2 GB while it is unpacked (with CUDA 8 GB)') =>
  new LibraryError(
    'E_LIBRARY_DISK',
    `No space left in ${parent}; ${detail}. Free some, or set DIT_MOE_CACHE_DIR to a folder on a larger disk.`,
    { cause },
  );
