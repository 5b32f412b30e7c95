import fs from 'node:fs/promises';
import path from 'node:path';

/**
 * Makes a folder and those above it, as `mkdir -p`. Node's own recursive form says ENOENT of a read-only file system; this one throws
 * the error of the folder that could not be made.
 */
export async function makeFolder(folder: string): Promise<void> {
  try {
    await fs.mkdir(folder);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    // The system may say that a folder that is there cannot be made.
    if (code !== 'ENOENT' && (await fs.stat(folder).catch(() => undefined))?.isDirectory()) return;
    if (code !== 'ENOENT' || path.dirname(folder) === folder) throw error;
    await makeFolder(path.dirname(folder));
    await fs.mkdir(folder).catch((again: NodeJS.ErrnoException) => {
      if (again.code !== 'EEXIST') throw again;
    });
  }
}
