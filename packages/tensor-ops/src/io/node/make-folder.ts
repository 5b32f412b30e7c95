import fs from 'node:fs/promises';
import path from 'node:path';
import { asWriteError } from './write-error.js';

/**
 * Makes a folder and those above it, as `mkdir -p`.
 * @throws WriteError with the reason of the folder that could not be made
 */
export async function makeFolder(folder: string): Promise<void> {
  await make(folder).catch((error) => {
    throw asWriteError(error, folder);
  });
}

/** Node's own recursive form says ENOENT of a read-only file system; this one throws the error of the folder that could not be made. */
async function make(folder: string): Promise<void> {
  try {
    await fs.mkdir(folder);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    // The system may say that a folder that is there cannot be made. A link to nothing is there and is not: then that is said.
    if (code !== 'ENOENT' && (await fs.stat(folder).catch((reason) => Promise.reject(code === 'EEXIST' ? reason : error))).isDirectory())
      return;
    if (code !== 'ENOENT' || path.dirname(folder) === folder) throw error;
    await make(path.dirname(folder));
    await fs.mkdir(folder).catch((again: NodeJS.ErrnoException) => {
      if (again.code !== 'EEXIST') throw again;
    });
  }
}
