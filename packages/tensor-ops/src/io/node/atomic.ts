/**
 * Files and folders that appear whole or not at all: written beside their place, flushed to the disk, then renamed.
 */
import fs from 'node:fs/promises';
import path from 'node:path';
import { makeFolder } from './make-folder.js';
import { asWriteError } from './write-error.js';

/** Names that begin so are unfinished; whoever finds one left over by a dead process may delete it. */
export const TEMPORARY_PREFIX = '.tmp-';

/** A name beside `target` for the unfinished content. */
export function temporaryName(target: string): string {
  return path.join(
    path.dirname(target),
    `${TEMPORARY_PREFIX}${path.basename(target)}-${process.pid}-${Math.random().toString(36).slice(2, 8)}`,
  );
}

/** Flushes a folder's entries (new names, renames) to the disk, where the system can. */
async function syncFolder(folder: string): Promise<void> {
  if (process.platform === 'win32') return;
  const handle = await fs.open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/**
 * Writes a file so that `target` is either as before or complete.
 * @param write receives the open temporary file
 * @throws WriteError if the file system refuses; what `write` throws otherwise is passed on
 */
export async function writeAtomically(target: string, write: (file: fs.FileHandle) => Promise<void>): Promise<void> {
  const temporary = temporaryName(target);
  try {
    const file = await fs.open(temporary, 'w');
    try {
      await write(file);
      await file.sync();
    } finally {
      await file.close();
    }
    await fs.rename(temporary, target);
  } catch (error) {
    await fs.rm(temporary, { force: true }).catch(() => {});
    throw isOfWriting(error as NodeJS.ErrnoException, temporary) ? asWriteError(error, target) : error;
  }
  await syncFolder(path.dirname(target));
}

/** Whether an error comes from writing the temporary file or folder, not from reading what goes into it. */
const isOfWriting = ({ syscall, path: place }: NodeJS.ErrnoException, temporary: string): boolean =>
  place?.startsWith(temporary) === true || syscall === 'write' || syscall === 'fsync' || syscall === 'ftruncate';

/** {@link writeAtomically} of bytes or text that are at hand. */
export async function writeFileAtomically(target: string, content: Uint8Array | string): Promise<void> {
  await writeAtomically(target, async (file) => file.writeFile(content));
}

/**
 * Fills a folder so that `target` is either absent or complete.
 * @param fill writes into the temporary folder; the files must be flushed by it (as {@link writeAtomically} does)
 * @throws WriteError as {@link writeAtomically}
 */
export async function createFolderAtomically(target: string, fill: (temporary: string) => Promise<void>): Promise<void> {
  const temporary = temporaryName(target);
  try {
    await makeFolder(temporary);
    await fill(temporary);
    await syncFolder(temporary);
    await fs.rename(temporary, target);
  } catch (error) {
    await fs.rm(temporary, { recursive: true, force: true }).catch(() => {});
    throw isOfWriting(error as NodeJS.ErrnoException, temporary) ? asWriteError(error, target) : error;
  }
  await syncFolder(path.dirname(target));
}
