/** A study: one configuration in several arms, each trained from several seeds, compared by the loss on the same held-out images. */

import fs from 'node:fs/promises';
import path from 'node:path';
import { UsageError } from '@dit-moe/kit';
import {
  integer,
  list,
  object,
  optional,
  parseSettings,
  SettingsError,
  text,
  type ValueOf,
  withDefault,
} from '@dit-moe/tensor-ops/settings';
import YAML from 'yaml';
import { merged, resolveConfig } from '../config/resolve.js';
import type { TrainConfig } from '../config/schema.js';

const studySettings = object({
  name: optional(text('what is studied, for the head of the table')),
  expected: optional(text('what should come out, written before the first run')),
  seeds: withDefault(list(integer('seed of a run', { least: 0 }), 'every arm is trained from each of them', { least: 1 }), [0]),
  against: optional(text('the arm that the others are compared with (default: the first)')),
});

/** One training of a study. */
export interface StudyRun {
  arm: string;
  seed: number;
  /** Name of the run's folder. */
  name: string;
  config: TrainConfig;
}

export interface Study extends Pick<ValueOf<typeof studySettings>, 'name' | 'expected' | 'seeds'> {
  arms: readonly string[];
  against: string;
  /** By seeds first, so that every arm has a result early. */
  runs: readonly StudyRun[];
}

/** Names of arms become names of folders. */
const ARM = /^[a-z0-9][a-z0-9._-]*$/i;

/**
 * Reads a study: `base` is a configuration, `arms` has for each name the settings in which it differs. Paths in it are relative to the
 * current folder, as everywhere.
 * @param overrides for every run, as `--set` has them
 * @throws UsageError if it cannot be read
 * @throws SettingsError naming the arm and the field that is wrong
 */
export async function readStudy(file: string, overrides: readonly string[] = []): Promise<Study> {
  const content = await fs.readFile(file, 'utf8').then(YAML.parse, (error: Error) => {
    throw new UsageError(`Cannot read the study ${file}: ${error.message}`);
  });
  if (typeof content !== 'object' || content === null) throw new UsageError(`The study ${file} must be an object with base and arms.`);
  const { base = {}, arms = {}, ...rest } = content as { base?: object; arms?: Record<string, object | null> };
  const { name, expected, seeds, against } = parseSettings(studySettings, rest, file);
  const names = Object.keys(arms);
  if (names.length === 0) throw new SettingsError(file, [{ at: 'arms', expected: 'at least one arm', found: arms }]);
  for (const arm of names)
    if (!ARM.test(arm)) throw new SettingsError(file, [{ at: 'arms', expected: 'names of letters, digits, ".", "_" and "-"', found: arm }]);
  if (against !== undefined && !names.includes(against))
    throw new SettingsError(file, [{ at: 'against', expected: `one of ${names.join(', ')}`, found: against }]);
  if (new Set(seeds).size < seeds.length) throw new SettingsError(file, [{ at: 'seeds', expected: 'every seed once', found: seeds }]);
  const configs = names.map((arm) => [arm, configOf(file, arm, merged(base, arms[arm] ?? {}), overrides)] as const);
  comparable(file, configs);
  const runs = seeds.flatMap((seed) =>
    configs.map(([arm, config]): StudyRun => ({ arm, seed, name: `${arm}-${seed}`, config: { ...config, seed } })),
  );
  return {
    ...(name !== undefined && { name }),
    ...(expected !== undefined && { expected }),
    seeds,
    arms: names,
    against: against ?? names[0],
    runs,
  };
}

function configOf(file: string, arm: string, content: unknown, overrides: readonly string[]): TrainConfig {
  const what = `arm ${arm} of ${path.basename(file)}`;
  const config = resolveConfig({ content: content as Record<string, unknown>, what, overrides });
  const { validation, steps } = config;
  if (validation === undefined)
    throw new SettingsError(what, [{ at: 'validation', expected: 'held-out images, by whose loss arms are compared', found: validation }]);
  if (steps % validation.every !== 0)
    throw new SettingsError(what, [
      { at: 'validation.every', expected: `a divisor of steps ${steps}, so that the end is measured`, found: validation.every },
    ]);
  return config;
}

/** Losses of other images, times or objectives say nothing of each other. */
function comparable(file: string, configs: readonly (readonly [string, TrainConfig])[]): void {
  const measured = ({ validation, objective, data }: TrainConfig): string => {
    const { every: _, ...triples } = validation!;
    const { kind, timeScale: __, ...target } = objective as { kind: string; timeScale?: number } & Record<string, unknown>;
    return JSON.stringify([triples, kind, target['prediction'], target['weighting'], data.path, data.size, data.channels]);
  };
  const [[first, config]] = configs;
  for (const [arm, other] of configs)
    if (measured(other) !== measured(config))
      throw new SettingsError(file, [
        {
          at: `arms.${arm}`,
          expected: `the data, objective and validation of ${first}, or their losses cannot be compared`,
          found: measured(other),
        },
      ]);
}
