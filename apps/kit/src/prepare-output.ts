/** What is to be written later is looked at before the work that it comes from. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { asWriteError, makeFolder, WriteError } from '@dit-moe/tensor-ops/io/node';

/**
 * Makes the folder of a file that is to be written, and sees whether the file can be.
 * @throws WriteError if it cannot
 */
export async function prepareOutput(file: string): Promise<void> {
  const folder = path.dirname(file);
  await makeFolder(folder);
  if ((await fs.stat(file).catch(() => undefined))?.isDirectory())
    throw new WriteError(`Cannot write ${file}: it is a folder, where a file is expected.`, { where: file, hint: 'Choose another path.' });
  await fs.access(folder, fs.constants.W_OK).catch((error) => {
    throw asWriteError(error, file);
  });
  // A name that the file system does not take.
  await fs.lstat(file).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw asWriteError(error, file);
  });
}
