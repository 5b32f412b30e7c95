import { describe, expect, test } from 'vitest';
import { UsageError } from './errors.js';
import { workerShare } from './share.js';

describe('the share of a worker', () => {
  test('is given, that of an array job, or everything', () => {
    const job = { SLURM_ARRAY_TASK_ID: '7', SLURM_ARRAY_TASK_MIN: '5', SLURM_ARRAY_TASK_COUNT: '4' };
    expect(workerShare('1/3', undefined, job)).toEqual({ index: 1, count: 3, source: '--part' });
    expect(workerShare(undefined, undefined, job)).toEqual({ index: 2, count: 4, source: 'SLURM_ARRAY_TASK_ID=7' });
    expect(workerShare(undefined, 4, { JOB_COMPLETION_INDEX: '3' })).toMatchObject({ index: 3, count: 4 });
    expect(workerShare(undefined, undefined, {})).toMatchObject({ index: 0, count: 1 });
  });

  test('must be whole', () => {
    expect(() => workerShare(undefined, undefined, { JOB_COMPLETION_INDEX: '3' })).toThrow(/--parts/);
    expect(() => workerShare(undefined, 3, {})).toThrow(UsageError);
    expect(() => workerShare('3/3', undefined, {})).toThrow(/--part/);
  });
});
