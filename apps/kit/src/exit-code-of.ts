/** What ended a command, for people and for scripts. */
import { DitMoeError } from '@dit-moe/tensor-ops/errors';
import type { ExitCodeTable } from './exit-code-table.js';
import { exitCodes } from './exit-codes.js';
import { marked } from './terminal.js';

/** The exit code of some work. What goes wrong is said on stderr, with a stack only for our own defects. */
export async function exitCodeOf(work: () => Promise<number>, codes: ExitCodeTable): Promise<number> {
  try {
    return await work();
  } catch (error) {
    if (DitMoeError.isInstance(error)) {
      const code = codes[error.code] ?? codes[(error.constructor as typeof DitMoeError).code];
      if (code !== undefined) {
        console.error(marked(`error: ${error.message}`));
        return code;
      }
    }
    // Loaded only now, so that help and version do not wait for it.
    const { fileSystemReason } = await import('@dit-moe/tensor-ops/io/node');
    const known = fileSystemReason(error);
    if (known === undefined) {
      console.error(error);
      return exitCodes.defect;
    }
    const { path, syscall } = error as NodeJS.ErrnoException;
    const writing = /^(write|fsync|ftruncate|mkdir|rmdir|rename|unlink|link|symlink|copyfile|chmod|utime)/.test(syscall ?? '');
    console.error(marked(`error: Cannot ${writing ? 'write' : 'read'} ${path ?? 'a file'}: ${known.reason}. ${known.hint}`));
    return writing ? exitCodes.output : exitCodes.data;
  }
}
