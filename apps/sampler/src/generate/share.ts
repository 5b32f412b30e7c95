/** Which shards a worker makes: every n-th one, by `--part k/n` or by what the scheduler says of an array job. */
import { UsageError } from '../errors.js';

/** Part `index` (from 0) of `count`. */
export interface Share {
  index: number;
  count: number;
  /** Where it comes from, for the log. */
  source: string;
}

/** Variables of a scheduler: the index, the number of tasks, and the first index. A missing count must be given as `--parts`. */
const schedulers = [
  {
    name: 'Slurm',
    index: 'SLURM_ARRAY_TASK_ID',
    count: 'SLURM_ARRAY_TASK_COUNT',
    first: 'SLURM_ARRAY_TASK_MIN',
    step: 'SLURM_ARRAY_TASK_STEP',
  },
  { name: 'Grid Engine', index: 'SGE_TASK_ID', last: 'SGE_TASK_LAST', first: 'SGE_TASK_FIRST', step: 'SGE_TASK_STEPSIZE' },
  { name: 'Kubernetes', index: 'JOB_COMPLETION_INDEX' },
  { name: 'AWS Batch', index: 'AWS_BATCH_JOB_ARRAY_INDEX', count: 'AWS_BATCH_JOB_ARRAY_SIZE' },
  { name: 'Google Batch', index: 'BATCH_TASK_INDEX', count: 'BATCH_TASK_COUNT' },
  { name: 'PBS', index: 'PBS_ARRAY_INDEX' },
  { name: 'LSF', index: 'LSB_JOBINDEX', last: 'LSB_JOBINDEX_END', first: 1, step: 'LSB_JOBINDEX_STEP' },
  { name: 'Open MPI', index: 'OMPI_COMM_WORLD_RANK', count: 'OMPI_COMM_WORLD_SIZE' },
] as const satisfies readonly {
  name: string;
  index: string;
  count?: string;
  last?: string;
  first?: string | number;
  step?: string;
}[];

/**
 * The share of this process.
 * @param part `k/n` with k from 0 to n - 1, which wins over the environment
 * @param parts number of parts, for schedulers that do not tell it
 * @throws UsageError if the index does not fit the count, or the count is not known
 */
export function workerShare(
  part: string | undefined,
  parts: number | undefined,
  environment: Readonly<Record<string, string | undefined>>,
): Share {
  if (part !== undefined) {
    const match = /^(\d+)\/(\d+)$/.exec(part);
    const [index, count] = [Number(match?.[1]), Number(match?.[2])];
    if (match === null || count < 1 || index >= count)
      throw new UsageError(`--part expects k/n with k from 0 to n - 1, such as 0/4; found "${part}".`);
    return { index, count, source: '--part' };
  }
  for (const scheduler of schedulers) {
    const value = (entry: string | number | undefined): number | undefined => {
      const text = typeof entry === 'string' ? environment[entry] : entry;
      // Grid Engine sets "undefined" outside array jobs, LSF 0.
      return text === undefined || text === 'undefined' || text === '' ? undefined : Number(text);
    };
    const {
      name,
      index: variable,
      count: countVariable,
      last,
      first,
      step,
    }: (typeof schedulers)[number] & Record<string, string | number | undefined> = scheduler;
    const id = value(variable);
    if (id === undefined || (name === 'LSF' && id === 0)) continue;
    const [start, stride] = [value(first) ?? 0, value(step) ?? 1];
    const end = value(last);
    const count = value(countVariable) ?? (end === undefined ? parts : Math.floor((end - start) / stride) + 1);
    if (count === undefined)
      throw new UsageError(`${variable} is set, but ${name} does not say how many tasks the job has: give --parts N, or --part k/n.`);
    const index = (id - start) / stride;
    if (!Number.isInteger(index) || index < 0 || index >= count)
      throw new UsageError(`${variable} is ${id}, which is not one of ${count} tasks from ${start}. Give --part k/n instead.`);
    return { index, count, source: `${variable}=${id}` };
  }
  if (parts !== undefined && parts > 1)
    throw new UsageError('--parts is for array jobs, but no variable of a scheduler is set. Give --part k/n.');
  return { index: 0, count: 1, source: 'alone' };
}
