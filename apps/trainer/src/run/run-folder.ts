/** The run folder: made, locked, and checked against the configuration that it was made with. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { makeFolder, writeFileAtomically } from '@dit-moe/tensor-ops/io/node';
import type { TrainConfig } from '../config/schema.js';
import { CheckpointError, OutputError } from '../errors.js';
import { lockRun } from './lock.js';

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
});

/**
 * Makes and locks the folder, and writes `config.json`.
 * @returns the function that unlocks it
 * @throws OutputError if the folder cannot be used or holds a run that is not to be resumed
 * @throws CheckpointError naming the settings in which a resumed run differs
 */
export async function openRunFolder(out: string, config: TrainConfig, resume: boolean): Promise<() => Promise<void>> {
  await makeFolder(out);
  const unlock = await lockRun(out);
  try {
    const file = path.join(out, 'config.json');
    const text = await fs.readFile(file, 'utf8').catch(() => undefined);
    if (text !== undefined && !resume) throw new OutputError(`${out} holds a run already. Go on with --resume, or choose another --out.`);
    if (text !== undefined) {
      const differences = differingKeys(fixed(JSON.parse(text) as TrainConfig), fixed(config));
      if (differences.length > 0)
        throw new CheckpointError(
          `The configuration differs from ${file}:\n${differences.join('\n')}\nResume with the same, or choose another --out.`,
        );
    }
    await writeFileAtomically(file, `${JSON.stringify(config, null, 2)}\n`);
    return unlock;
  } catch (error) {
    await unlock();
    throw error;
  }
}

/** One line per leaf that differs. */
function differingKeys(before: unknown, now: unknown, at = ''): string[] {
  const isObject = (v: unknown): v is Record<string, unknown> => typeof v === 'object' && v !== null && !Array.isArray(v);
  if (isObject(before) && isObject(now)) {
    const keys = new Set([...Object.keys(before), ...Object.keys(now)]);
    return [...keys].flatMap((key) => differingKeys(before[key], now[key], at === '' ? key : `${at}.${key}`));
  }
  const [a, b] = [JSON.stringify(before), JSON.stringify(now)];
  return a === b ? [] : [`  ${at}: ${a ?? 'not set'} in the run, ${b ?? 'not set'} now`];
}
