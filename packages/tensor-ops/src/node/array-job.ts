/** Which part of a job this process does, when a scheduler or a person starts many of them. */
import { DitMoeError } from '../errors.js';
import { rankInJob } from './cluster/launch-info.js';

/** This process among all, counted from 0. */
export interface Worker {
  index: number;
  count: number;
}

/** The variables of a scheduler do not tell the part of this process. */
export class ArrayJobError extends DitMoeError {
  static override readonly code = 'E_ARRAY_JOB';
  constructor(message: string) {
    super(message);
  }
}

/** Where schedulers write the index of a task, and the number of tasks or the last index, the first one and the step. */
interface Scheduler {
  name: string;
  index: string;
  count?: string;
  last?: string;
  /** A variable, or the number itself (default 0). */
  first?: string | number;
  step?: string;
}

const schedulers: readonly Scheduler[] = [
  {
    name: 'Slurm',
    index: 'SLURM_ARRAY_TASK_ID',
    count: 'SLURM_ARRAY_TASK_COUNT',
    last: 'SLURM_ARRAY_TASK_MAX',
    first: 'SLURM_ARRAY_TASK_MIN',
    step: 'SLURM_ARRAY_TASK_STEP',
  },
  { name: 'Grid Engine', index: 'SGE_TASK_ID', last: 'SGE_TASK_LAST', first: 'SGE_TASK_FIRST', step: 'SGE_TASK_STEPSIZE' },
  { name: 'Kubernetes', index: 'JOB_COMPLETION_INDEX', count: 'WORLD_SIZE' },
  { name: 'AWS Batch', index: 'AWS_BATCH_JOB_ARRAY_INDEX', count: 'AWS_BATCH_JOB_ARRAY_SIZE' },
  { name: 'Google Batch', index: 'BATCH_TASK_INDEX', count: 'BATCH_TASK_COUNT' },
  { name: 'PBS', index: 'PBS_ARRAY_INDEX' },
  { name: 'LSF', index: 'LSB_JOBINDEX', last: 'LSB_JOBINDEX_END', first: 1, step: 'LSB_JOBINDEX_STEP' },
];

/** The part of a process, and the variables that it comes from, for a log. */
type Found = Worker & { source: string };

/**
 * The part of this process in an array job, from the variables of Slurm, Grid Engine, Kubernetes, AWS Batch, Google Batch, PBS or LSF;
 * among the processes of one job by its rank, from those of torchrun, srun, Open MPI or PMI; or in each task of an array by both.
 *
 * @param options `count`: number of tasks, for schedulers that do not tell it (Kubernetes, PBS); `remedy`: what a person can do, for
 *   the error message
 * @returns `undefined` outside of such a job; `source` names the variable, for a log
 * @throws ArrayJobError if the number of tasks is not known or the index is not among them
 * @throws LaunchError if the variables of a launcher contradict each other
 */
export function arrayWorker(
  environment: Readonly<Record<string, string | undefined>>,
  options: { count?: number | undefined; remedy: string },
): Found | undefined {
  const task = taskOf(environment, options);
  // An Indexed Job's index is its rank.
  const ranked = environment['JOB_COMPLETION_INDEX'] === undefined ? rankInJob(environment) : undefined;
  if (ranked === undefined) return task;
  const { rank, size, source } = ranked;
  if (task === undefined) return { index: rank, count: size, source };
  return { index: task.index * size + rank, count: task.count * size, source: `${task.source}, ${source}` };
}

function taskOf(
  environment: Readonly<Record<string, string | undefined>>,
  options: { count?: number | undefined; remedy: string },
): Found | undefined {
  const value = (entry: string | number | undefined): number | undefined => {
    const text = typeof entry === 'string' ? environment[entry] : entry;
    // Grid Engine sets "undefined" outside array jobs.
    return text === undefined || text === 'undefined' || text === '' ? undefined : Number(text);
  };
  for (const scheduler of schedulers) {
    const id = value(scheduler.index);
    // LSF numbers from 1, and sets 0 outside of array jobs.
    if (id === undefined || (scheduler.name === 'LSF' && id === 0)) continue;
    const [first, step, last] = [value(scheduler.first) ?? 0, value(scheduler.step) ?? 1, value(scheduler.last)];
    const count = value(scheduler.count) ?? (last === undefined ? options.count : Math.floor((last - first) / step) + 1);
    if (count === undefined) {
      throw new ArrayJobError(
        `${scheduler.index} is set, but ${scheduler.name} does not say how many tasks the job has. ${options.remedy}`,
      );
    }
    const index = (id - first) / step;
    // Slurm's lists with holes (--array=1,3,7) have no regular step.
    if (!Number.isInteger(index) || index < 0 || index >= count)
      throw new ArrayJobError(`${scheduler.index} is ${id}, which is not one of ${count} tasks from ${first}. ${options.remedy}`);
    return { index, count, source: `${scheduler.index}=${id}` };
  }
  return undefined;
}

/**
 * Parses `2/8`: the third of eight workers.
 * @param where the option that it comes from, for the error message
 * @throws ArrayJobError for anything else
 */
export function parseWorker(text: string, where: string): Worker {
  const match = /^(\d+)\/(\d+)$/.exec(text);
  const [index, count] = [Number(match?.[1]), Number(match?.[2])];
  if (match === null || index >= count)
    throw new ArrayJobError(`${where} expects k/n with k from 0 to n - 1, such as 0/4; found "${text}".`);
  return { index, count };
}
