import { expect, test } from 'vitest';
import { arrayWorker, parseWorker } from './array-job.js';

const remedy = 'Give --worker.';

test.each<[Record<string, string>, { index: number; count: number } | undefined]>([
  [{}, undefined],
  [
    { SLURM_ARRAY_TASK_ID: '7', SLURM_ARRAY_TASK_MIN: '5', SLURM_ARRAY_TASK_COUNT: '4', SLURM_ARRAY_TASK_STEP: '1' },
    { index: 2, count: 4 },
  ],
  [
    { SLURM_ARRAY_TASK_ID: '7', SLURM_ARRAY_TASK_MIN: '1', SLURM_ARRAY_TASK_MAX: '13', SLURM_ARRAY_TASK_STEP: '3' },
    { index: 2, count: 5 },
  ],
  [
    { SLURM_ARRAY_TASK_ID: '0', SLURM_ARRAY_TASK_MIN: '0', SLURM_ARRAY_TASK_MAX: '0' },
    { index: 0, count: 1 },
  ],
  [
    { SGE_TASK_ID: '3', SGE_TASK_FIRST: '1', SGE_TASK_LAST: '4', SGE_TASK_STEPSIZE: '1' },
    { index: 2, count: 4 },
  ],
  [{ SGE_TASK_ID: 'undefined', SGE_TASK_LAST: 'undefined' }, undefined],
  [
    { LSB_JOBINDEX: '2', LSB_JOBINDEX_END: '8' },
    { index: 1, count: 8 },
  ],
  [{ LSB_JOBINDEX: '0' }, undefined],
  [
    { AWS_BATCH_JOB_ARRAY_INDEX: '1', AWS_BATCH_JOB_ARRAY_SIZE: '3' },
    { index: 1, count: 3 },
  ],
  [
    { BATCH_TASK_INDEX: '0', BATCH_TASK_COUNT: '3' },
    { index: 0, count: 3 },
  ],
  [
    { RANK: '2', WORLD_SIZE: '4' },
    { index: 2, count: 4 },
  ],
  [{ RANK: '0', WORLD_SIZE: '1' }, undefined],
  [
    { JOB_COMPLETION_INDEX: '1', WORLD_SIZE: '3' },
    { index: 1, count: 3 },
  ],
  // A plain process in a batch script is no step of its own.
  [{ SLURM_PROCID: '0', SLURM_STEP_NUM_TASKS: '4' }, undefined],
  [
    { SLURM_STEP_ID: '0', SLURM_PROCID: '3', SLURM_STEP_NUM_TASKS: '4' },
    { index: 3, count: 4 },
  ],
  [
    { SLURM_ARRAY_TASK_ID: '1', SLURM_ARRAY_TASK_COUNT: '2', SLURM_STEP_ID: '0', SLURM_PROCID: '3', SLURM_STEP_NUM_TASKS: '4' },
    { index: 7, count: 8 },
  ],
  [
    { OMPI_COMM_WORLD_RANK: '1', OMPI_COMM_WORLD_SIZE: '2' },
    { index: 1, count: 2 },
  ],
])('the worker of %o', (environment, expected) => {
  const worker = arrayWorker(environment, { remedy });
  if (expected === undefined) expect(worker).toBeUndefined();
  else expect(worker).toMatchObject(expected);
});

test('a scheduler that does not tell the number of tasks needs it from elsewhere', () => {
  for (const variable of ['JOB_COMPLETION_INDEX', 'PBS_ARRAY_INDEX']) {
    const environment = { [variable]: '3' };
    expect(arrayWorker(environment, { count: 4, remedy })).toEqual({ index: 3, count: 4, source: `${variable}=3` });
    expect(() => arrayWorker(environment, { remedy })).toThrow(/how many tasks the job has\. Give --worker/);
    expect(() => arrayWorker(environment, { count: 3, remedy })).toThrow(/3, which is not one of 3 tasks from 0\. Give --worker/);
  }
});

test('a Slurm array with holes is refused instead of leaving parts out', () => {
  const environment = { SLURM_ARRAY_TASK_ID: '7', SLURM_ARRAY_TASK_MIN: '1', SLURM_ARRAY_TASK_MAX: '7', SLURM_ARRAY_TASK_COUNT: '3' };
  expect(() => arrayWorker(environment, { remedy })).toThrow(expect.objectContaining({ code: 'E_ARRAY_JOB' }));
});

test('a worker is written k/n', () => {
  expect(parseWorker('2/8', '--worker')).toEqual({ index: 2, count: 8 });
  for (const wrong of ['8/8', '2', '-1/3', '1/0', '0/0', 'a/b', ''])
    expect(() => parseWorker(wrong, '--worker')).toThrow(/--worker expects k\/n/);
});
