/** Runs a study: each training is a process of its own, so that one that dies takes nothing with it and is gone on with. */

import { spawn } from 'node:child_process';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import readline from 'node:readline';
import { describeModel } from '@dit-moe/dit';
import { openModel } from '@dit-moe/dit/node';
import { OutputError } from '@dit-moe/kit';
import { makeFolder, writeFileAtomically } from '@dit-moe/tensor-ops/io/node';
import { TrainingFailedError } from '../errors.js';
import { differingKeys } from '../run/run-folder.js';
import { type MetricsLine, readMetrics } from '../training/metrics-log.js';
import { listCheckpoints } from '../training/retention.js';
import { compareArms, type RunResult, type StudyResults } from './results.js';
import type { Study, StudyRun } from './study.js';

export interface RunStudyOptions {
  /** Folder of the runs and of `results.json`. */
  out: string;
  /** The trainer as a command, without its arguments. */
  trainer: readonly string[];
  /** Trainings at once (default 1). */
  jobs?: number;
  /** Further arguments of every training, such as `--threads 1`. */
  arguments?: readonly string[];
  /** Told what a training writes on stderr, and which one it is. */
  onLine: (line: string, run: StudyRun) => void;
  onResult?: (results: StudyResults, done: number) => void;
  /** Stops the trainings, each of which saves itself. */
  signal?: AbortSignal;
}

/**
 * Trains what is missing, and keeps `results.json` current.
 * @returns what has been found; not all of it, if the signal has come
 * @throws TrainingFailedError naming the run, if one ends with another code than that of an interruption
 */
export async function runStudy(study: Study, options: RunStudyOptions): Promise<StudyResults> {
  const { out, jobs = 1, onResult, signal } = options;
  await makeFolder(out);
  const found = new Map<StudyRun, RunResult>();
  const results = (): StudyResults => {
    const { name, expected, against, seeds } = study;
    return {
      format: 1,
      ...(name !== undefined && { name }),
      ...(expected !== undefined && { expected }),
      ...{ against, seeds, arms: compareArms(study, [...found.values()]), machine: machine() },
    };
  };
  const note = async (run: StudyRun): Promise<boolean> => {
    const result = await resultOf(path.join(out, run.name), run);
    if (result === undefined) return false;
    found.set(run, result);
    await writeFileAtomically(path.join(out, 'results.json'), `${JSON.stringify(results(), null, 2)}\n`);
    onResult?.(results(), found.size);
    return true;
  };
  for (const run of study.runs) await checkSettings(path.join(out, run.name), run);
  const waiting: StudyRun[] = [];
  for (const run of study.runs) if (!(await note(run))) waiting.push(run);
  let failure: unknown;
  const work = async (): Promise<void> => {
    for (let run = waiting.shift(); run !== undefined && failure === undefined && !signal?.aborted; run = waiting.shift()) {
      await trainOne(run, options);
      if (!signal?.aborted && !(await note(run)))
        throw new TrainingFailedError(`The run ${run.name} has ended without the held-out loss of its last step.`, {
          where: path.join(out, run.name),
        });
    }
  };
  const failed = (error: unknown): void => {
    failure ??= error;
  };
  await Promise.all(Array.from({ length: jobs }, () => work().catch(failed)));
  if (failure !== undefined) throw failure;
  return results();
}

async function trainOne(run: StudyRun, { out, trainer, arguments: more = [], onLine, signal }: RunStudyOptions): Promise<void> {
  const folder = path.join(out, run.name);
  const file = path.join(out, `${run.name}.json`);
  await writeFileAtomically(file, `${JSON.stringify(run.config, null, 2)}\n`);
  // Also of a run that ended before it had anything to go on from.
  const resume = await fs.stat(path.join(folder, 'config.json')).then(
    () => true,
    () => false,
  );
  const [program, ...args] = [...trainer, 'train', file, '--out', folder, '--json', ...more, ...(resume ? ['--resume'] : [])];
  // In a group of its own: Ctrl-C of a terminal would reach it as well, and a second signal ends it before it has saved itself.
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'], detached: process.platform !== 'win32' });
  const stop = (): void => void child.kill('SIGTERM');
  signal?.addEventListener('abort', stop);
  const last: string[] = [];
  readline.createInterface({ input: child.stderr }).on('line', (line) => {
    onLine(line, run);
    last.push(line);
    if (last.length > 5) last.shift();
  });
  try {
    const code = await new Promise<number>((resolve, reject) => {
      child.on('error', reject);
      child.on('close', (code, name) => resolve(code ?? 128 + (name === null ? 0 : os.constants.signals[name])));
    });
    if (code !== 0 && !signal?.aborted)
      throw new TrainingFailedError(`The run ${run.name} has ended with code ${code}:\n${last.join('\n')}`, {
        where: folder,
        hint: 'The same command goes on with it.',
      });
  } finally {
    signal?.removeEventListener('abort', stop);
  }
}

/** A result of other settings must not be counted as one of these. */
async function checkSettings(folder: string, { config }: StudyRun): Promise<void> {
  const text = await fs.readFile(path.join(folder, 'config.json'), 'utf8').catch(() => undefined);
  if (text === undefined) return;
  const differences = differingKeys(JSON.parse(text), JSON.parse(JSON.stringify(config)));
  if (differences.length > 0)
    throw new OutputError(`The run ${folder} was made with other settings:\n${differences.join('\n')}`, {
      where: folder,
      hint: 'Choose another --out, or remove that folder.',
    });
}

/** The numbers of a run that has reached its last step. */
async function resultOf(folder: string, { arm, seed, config }: StudyRun): Promise<RunResult | undefined> {
  const lines = await readMetrics(folder);
  const last = lines.at(-1);
  const [checkpoint] = await listCheckpoints(folder);
  if (last === undefined || last.step !== config.steps || last.validation === undefined || checkpoint === undefined) return undefined;
  const model = await openModel(checkpoint);
  try {
    const { parameters, gmac } = describeModel(model.config);
    return {
      arm,
      seed,
      loss: last.validation.loss,
      byTime: last.validation.byTime,
      ...(last.evaluation !== undefined && { evaluation: last.evaluation }),
      trainingLoss: last.loss,
      ...routing(last),
      parameters: parameters.total,
      activeParameters: parameters.active,
      gmac: gmac.total,
      seconds: secondsOf(lines, config.batchSize),
    };
  } finally {
    await model.checkpoint.close();
  }
}

/** How evenly the experts are used. */
function routing({ routing }: MetricsLine): Pick<RunResult, 'loadVariation' | 'deadExperts'> {
  if (routing.length === 0) return {};
  return {
    loadVariation: routing.reduce((sum, layer) => sum + layer.coefficientOfVariation, 0) / routing.length,
    deadExperts: routing.reduce((sum, layer) => sum + layer.deadExperts.length, 0),
  };
}

/** Time of training, from the rates of the lines: pauses between two calls do not count. */
function secondsOf(lines: readonly MetricsLine[], batchSize: number): number {
  let [seconds, before] = [0, 0];
  for (const { step, imagesPerSecond } of lines) {
    seconds += ((step - before) * batchSize) / imagesPerSecond;
    before = step;
  }
  return seconds;
}

function machine(): StudyResults['machine'] {
  const [cpu] = os.cpus();
  return {
    processor: cpu?.model.trim() ?? 'unknown',
    cores: os.availableParallelism(),
    memoryGiB: Math.round(os.totalmem() / 2 ** 30),
    node: process.version,
  };
}
