/** Which checkpoints of a run stay, and where those go that are damaged. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { DamagedCheckpointError, TEMPORARY_PREFIX } from '@dit-moe/tensor-ops/io/node';

export interface Retention {
  /** Newest whole checkpoints kept. */
  keep: number;
  /** Those of steps divisible by this are kept for ever. */
  milestoneEvery?: number | undefined;
}

export const stepOf = (folder: string): number => Number(/\d+$/.exec(folder)![0]);

/** Checkpoint folders of a run, newest first. */
export async function listCheckpoints(run: string): Promise<string[]> {
  const root = path.join(run, 'checkpoints');
  const names = await fs.readdir(root).catch(() => [] as string[]);
  return names
    .filter((name) => /^step-\d+$/.test(name))
    .sort((a, b) => stepOf(b) - stepOf(a))
    .map((name) => path.join(root, name));
}

/**
 * Deletes old checkpoints after one was saved. Only whole ones count; on the way to `keep` of them, damaged ones are moved aside. What is
 * newer than the one just saved is of another course, and neither counted nor touched.
 * @param saved folder of the one just saved, which is whole
 * @param verify throws if a checkpoint is not whole
 * @param warn told what is moved aside
 */
export async function deleteOld(
  run: string,
  saved: string,
  { keep, milestoneEvery }: Retention,
  verify: (folder: string) => Promise<unknown>,
  warn: (message: string) => void,
): Promise<void> {
  let whole = 1;
  for (const folder of (await listCheckpoints(run)).filter((other) => stepOf(other) < stepOf(saved))) {
    if (whole >= keep) {
      if (milestoneEvery === undefined || stepOf(folder) % milestoneEvery !== 0) await removeFolder(folder);
      continue;
    }
    try {
      await verify(folder);
      whole++;
    } catch (error) {
      // One of another version is none of our business.
      if (DamagedCheckpointError.isInstance(error)) await moveAside(folder, error.message, warn);
    }
  }
}

/** Moves a checkpoint to where nothing counts or deletes it: `damaged-step-N`, for people to look at. */
export async function moveAside(folder: string, reason: string, warn: (message: string) => void): Promise<void> {
  const name = path.join(path.dirname(folder), `damaged-${path.basename(folder)}`);
  for (let n = 1; ; n++) {
    const target = n === 1 ? name : `${name}-${n}`;
    if ((await fs.lstat(target).catch(() => undefined)) !== undefined) continue;
    await fs.rename(folder, target);
    warn(`WARNING: the checkpoint ${folder} cannot be used (${reason}) It was moved to ${target}.`);
    return;
  }
}

/** Deletes a folder so that it is never seen half deleted under its name. */
async function removeFolder(folder: string): Promise<void> {
  const doomed = path.join(path.dirname(folder), `${TEMPORARY_PREFIX}${path.basename(folder)}-old`);
  await fs.rm(doomed, { recursive: true, force: true });
  await fs.rename(folder, doomed);
  await fs.rm(doomed, { recursive: true, force: true });
}
