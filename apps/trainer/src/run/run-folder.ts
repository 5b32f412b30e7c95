/** The run folder: made, locked, and checked against the configuration that it was made with. */

import fs from 'node:fs/promises';
import path from 'node:path';
import { OutputError } from '@dit-moe/kit';
import { asWriteError, fileSystemReason, type Lock, makeFolder, takeLock, writeFileAtomically } from '@dit-moe/tensor-ops/io/node';
import { parseConfig } from '../config/resolve.js';
import type { TrainConfig } from '../config/schema.js';
import { CheckpointError } from '../errors.js';
import { listCheckpoints } from '../training/retention.js';

/** Settings that a run keeps for life: with others the checkpoint does not fit, or the samples of the rest would repeat or be missed. */
const fixed = (config: TrainConfig) => ({
  data: { kind: config.data.kind, size: config.data.size, channels: config.data.channels, flip: config.data.flip },
  model: config.model,
  objective: config.objective,
  batchSize: config.batchSize,
  labelDropout: config.labelDropout,
  ema: config.ema,
  seed: config.seed,
  distillation: config.distillation,
  // What is held out is not trained on.
  validation: config.validation?.share && { share: config.validation.share, seed: config.validation.seed },
});

/**
 * Makes and locks the folder, and writes `config.json`.
 * @param warn told what could not be compared
 * @returns the lock
 * @throws LockError if another process uses the folder
 * @throws OutputError if it holds a run that is not to be resumed
 * @throws WriteError if it cannot be used
 * @throws CheckpointError naming the settings in which a resumed run differs
 */
export async function openRunFolder(out: string, config: TrainConfig, resume: boolean, warn: (message: string) => void): Promise<Lock> {
  await makeFolder(out);
  const lock = await takeLock(path.join(out, 'run.lock'), `The run folder ${out}`);
  try {
    await checkRunFolder(out, config, resume, warn);
    await writeFileAtomically(path.join(out, 'config.json'), `${JSON.stringify(config, null, 2)}\n`);
    return lock;
  } catch (error) {
    await lock.release();
    throw error;
  }
}

/** Whether a run may start or go on in a folder, which need not be there; nothing is written. */
export async function checkRunFolder(out: string, config: TrainConfig, resume: boolean, warn: (message: string) => void): Promise<void> {
  const file = path.join(out, 'config.json');
  const before = await readConfig(file);
  const [newest] = await listCheckpoints(out);
  if (!resume) {
    if (before !== undefined) throw new OutputError(`${out} holds a run already. Go on with --resume, or choose another --out.`);
    if (newest !== undefined)
      throw new OutputError(
        `${out} holds checkpoints of a run without its configuration. Go on with --resume and the settings of that run, or choose another --out.`,
      );
  } else if (before !== undefined) {
    const differences = differingKeys(fixed(before), fixed(config));
    if (differences.length > 0)
      throw new CheckpointError(
        `The configuration differs from ${file}:\n${differences.join('\n')}\nResume with the same, or choose another --out.`,
      );
  } else if (newest !== undefined)
    warn(`WARNING: ${file} is missing: that batch size, seed and the like are those of the run is not checked.`);
}

/**
 * The configuration that a run was made with; undefined if there is none.
 * @throws CheckpointError if it is damaged; WriteError if the folder's path cannot be
 */
async function readConfig(file: string): Promise<TrainConfig | undefined> {
  try {
    return parseConfig(JSON.parse(await fs.readFile(file, 'utf8')), file);
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? '';
    if (['ENOENT', 'ENOTDIR'].includes(code)) return undefined;
    // It is the folder itself that cannot be.
    if (['ENAMETOOLONG', 'ELOOP'].includes(code)) throw asWriteError(cause, path.dirname(file));
    throw new CheckpointError(`${file} is damaged: ${fileSystemReason(cause)?.reason ?? (cause as Error).message}`, {
      hint: 'Put the configuration of the run back, or choose another --out.',
      where: file,
      cause,
    });
  }
}

/** One line per leaf that differs. */
export function differingKeys(before: unknown, now: unknown, at = ''): string[] {
  const isObject = (v: unknown): v is Record<string, unknown> => typeof v === 'object' && v !== null && !Array.isArray(v);
  if (isObject(before) && isObject(now)) {
    const keys = new Set([...Object.keys(before), ...Object.keys(now)]);
    return [...keys].flatMap((key) => differingKeys(before[key], now[key], at === '' ? key : `${at}.${key}`));
  }
  const [a, b] = [JSON.stringify(before), JSON.stringify(now)];
  return a === b ? [] : [`  ${at}: ${a ?? 'not set'} in the run, ${b ?? 'not set'} now`];
}
