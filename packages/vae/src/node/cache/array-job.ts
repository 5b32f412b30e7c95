/** Which part of a job this process does, when a scheduler starts many of them. */
import { ArgumentError } from '@dit-moe/tensor-ops';

/** This worker among all, counted from 0. */
export interface Worker {
  index: number;
  count: number;
}

/**
 * The worker that the environment of an array job names: Slurm, Grid Engine, LSF; `undefined` outside of one. PBS and Kubernetes
 * tell a task its number but not how many there are; name both there.
 */
export function arrayWorker(env: Readonly<Record<string, string | undefined>>): Worker | undefined {
  const schedulers = [
    ['SLURM_ARRAY_TASK_ID', 'SLURM_ARRAY_TASK_MIN', 'SLURM_ARRAY_TASK_MAX', 'SLURM_ARRAY_TASK_STEP'],
    ['SGE_TASK_ID', 'SGE_TASK_FIRST', 'SGE_TASK_LAST', 'SGE_TASK_STEPSIZE'],
    ['LSB_JOBINDEX', 'LSB_JOBINDEX_START', 'LSB_JOBINDEX_END', 'LSB_JOBINDEX_STEP'],
  ] as const;
  for (const names of schedulers) {
    const [id, first, last, step] = names.map((name) => Number(env[name] || Number.NaN)) as [number, number, number, number];
    if (Number.isNaN(id) || Number.isNaN(last)) continue;
    const from = Number.isNaN(first) ? 1 : first;
    const by = Number.isNaN(step) ? 1 : step;
    return checked({ index: (id - from) / by, count: Math.floor((last - from) / by) + 1 }, names[0]);
  }
  return undefined;
}

/**
 * Parses `2/8`: the third of eight workers.
 * @throws ArgumentError for anything else
 */
export function parseWorker(text: string): Worker {
  const match = /^(\d+)\/(\d+)$/.exec(text);
  if (match === null) throw new ArgumentError('worker', 'i/n, such as 0/8 for the first of eight', text);
  return checked({ index: Number(match[1]), count: Number(match[2]) }, 'worker');
}

/** The shards of a worker: `[first, end)`, contiguous, sizes differing by one at most. */
export const shardsOf = ({ index, count }: Worker, shards: number): [number, number] => [
  Math.floor((index * shards) / count),
  Math.floor(((index + 1) * shards) / count),
];

function checked(worker: Worker, where: string): Worker {
  const { index, count } = worker;
  if (!Number.isInteger(index) || !Number.isInteger(count) || index < 0 || index >= count)
    throw new ArgumentError(where, 'a worker from 0 to below their number', `${index} of ${count}`);
  return worker;
}
