/** What the file system says, as sentences. */
import { DitMoeError } from '../../errors.js';

/** Why a file or folder cannot be used, and what to do, by the system's code. */
const sentences: Readonly<Record<string, readonly [reason: string, hint: string]>> = {
  ENOSPC: ['no space is left on the disk', 'Free some, or choose another folder.'],
  EDQUOT: ['the disk quota is used up', 'Free some space, or choose another folder.'],
  EFBIG: ['the file exceeds the size limit of this process', 'Raise it (ulimit -f), or choose another folder.'],
  EIO: ['the disk reports an error', 'Check it, or choose another folder.'],
  ESTALE: ['the network file system has lost the folder', 'Mount it again, or choose another folder.'],
  EACCES: ['permission denied', 'Choose a place that you may use.'],
  EPERM: ['permission denied', 'Choose a place that you may use.'],
  EROFS: ['the file system is read-only', 'Choose another folder.'],
  ENOTDIR: ['a part of the path is a file', 'Choose another path.'],
  EEXIST: ['a file is in the way', 'Choose another path.'],
  EISDIR: ['it is a folder, where a file is expected', 'Choose another path.'],
  ENOTEMPTY: ['a folder with content is in the way', 'Choose another path.'],
  ENAMETOOLONG: ['the name is too long for the file system', 'Choose a shorter one.'],
  ELOOP: ['its symbolic links lead in a circle', 'Mend them, or choose another path.'],
  ENOENT: ['it does not exist, or a link leads to nothing', 'Check the path.'],
  EBUSY: ['another program uses it', 'Close that, or choose another path.'],
  ETXTBSY: ['another program uses it', 'Close that, or choose another path.'],
  EMFILE: ['this process has too many files open', 'Raise the limit (ulimit -n).'],
  ENFILE: ['the machine has too many files open', 'Close other programs.'],
  EPIPE: ['its reader has gone', ''],
};

/** Reason and remedy for an error of the file system; `undefined` for every other error. */
export function fileSystemReason(error: unknown): { reason: string; hint: string } | undefined {
  const found = sentences[(error as NodeJS.ErrnoException | undefined)?.code ?? ''];
  return found && { reason: found[0], hint: found[1] };
}

/** A file or folder cannot be written. */
export class WriteError extends DitMoeError {
  static override readonly code = 'E_WRITE';
}

/** A failed write to `target` as a {@link WriteError}; errors that the file system did not make are given back as they are. */
export function asWriteError(error: unknown, target: string): unknown {
  const known = fileSystemReason(error);
  if (known === undefined) return error;
  return new WriteError(`Cannot write ${target}: ${known.reason}.`, { where: target, hint: known.hint, cause: error });
}
