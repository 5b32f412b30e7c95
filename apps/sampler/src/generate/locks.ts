/** Who works on a set: each part has a lock, and who merges holds all of them. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { type Lock, takeLock } from '@dit-moe/tensor-ops/io/node';
import type { Worker } from '@dit-moe/tensor-ops/node';

/**
 * @throws LockError if another process makes the same part
 * @throws WriteError if the folder cannot be written
 */
export const lockPart = (folder: string, { index, count }: Worker): Promise<Lock> =>
  takeLock(path.join(folder, `part-${index}-of-${count}.lock`), `Part ${index} of ${count} of ${folder}`);

/**
 * Holds every part that somebody has held: those of dead workers are taken over.
 * @returns gives them up
 * @throws LockError if a part is being made
 */
export async function lockParts(folder: string): Promise<() => Promise<void>> {
  const locks: Lock[] = [];
  const release = async (): Promise<void> => {
    for (const lock of locks) await lock.release();
  };
  try {
    for (const name of await fs.readdir(folder)) {
      const part = /^part-(\d+)-of-(\d+)\.lock$/.exec(name);
      if (part !== null) locks.push(await lockPart(folder, { index: Number(part[1]), count: Number(part[2]) }));
    }
    return release;
  } catch (error) {
    await release();
    throw error;
  }
}
