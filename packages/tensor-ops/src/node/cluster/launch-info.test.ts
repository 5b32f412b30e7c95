import { describe, expect, test } from 'vitest';
import { LaunchError, launchInfo } from './launch-info.js';
import { firstHostOf } from './slurm-hosts.js';

const torchrun = { RANK: '5', WORLD_SIZE: '16', LOCAL_RANK: '1', MASTER_ADDR: 'gpu-a', MASTER_PORT: '29400', GROUP_RANK: '1' };
const slurm = {
  SLURM_STEP_ID: '0',
  SLURM_PROCID: '9',
  SLURM_STEP_NUM_TASKS: '12',
  SLURM_NTASKS: '12',
  SLURM_LOCALID: '1',
  SLURM_STEP_NODELIST: 'node[007-008,11],login2',
  SLURM_JOB_ID: '4711008',
};
const openMpi = {
  OMPI_COMM_WORLD_RANK: '1',
  OMPI_COMM_WORLD_SIZE: '2',
  OMPI_COMM_WORLD_LOCAL_RANK: '1',
  OMPI_COMM_WORLD_LOCAL_SIZE: '2',
  PMIX_RANK: '1',
};
const kubernetes = { JOB_COMPLETION_INDEX: '3', WORLD_SIZE: '4', MASTER_ADDR: 'train-0.train' };
const tensorFlowConfig = (task: object, cluster: object = { chief: ['a:2222'], worker: ['b:2222', 'c:2222'] }) => ({
  TF_CONFIG: JSON.stringify({ cluster, task }),
});

describe('recorded environments', () => {
  const cases: [string, Record<string, string>, object][] = [
    ['torchrun', torchrun, { rank: 5, size: 16, localRank: 1, leader: { host: 'gpu-a', port: 29_400 }, launcher: 'torchrun' }],
    [
      'torchrun whose agent holds the port',
      { ...torchrun, TORCHELASTIC_USE_AGENT_STORE: 'True' },
      { rank: 5, leader: { host: 'gpu-a', port: 29_401 } },
    ],
    ['srun', slurm, { rank: 9, size: 12, localRank: 1, leader: { host: 'node007', port: 31_008 }, launcher: 'Slurm' }],
    ['srun with a chosen leader', { ...slurm, MASTER_ADDR: 'ib-7', MASTER_PORT: '5' }, { leader: { host: 'ib-7', port: 5 } }],
    ['mpirun on one machine', openMpi, { rank: 1, size: 2, localRank: 1, leader: { host: '127.0.0.1', port: 29_500 } }],
    [
      'mpirun on several machines',
      { ...openMpi, OMPI_COMM_WORLD_SIZE: '4', MASTER_ADDR: 'm1' },
      { size: 4, leader: { host: 'm1', port: 29_500 } },
    ],
    ['MPICH', { PMI_RANK: '1', PMI_SIZE: '2', MPI_LOCALRANKID: '1', MASTER_ADDR: 'h' }, { rank: 1, size: 2, localRank: 1 }],
    ['Indexed Job', kubernetes, { rank: 3, size: 4, localRank: 0, leader: { host: 'train-0.train', port: 29_500 } }],
    [
      'TF_CONFIG, worker after the chief',
      tensorFlowConfig({ type: 'worker', index: 1 }),
      { rank: 2, size: 3, addresses: ['a:2222', 'b:2222', 'c:2222'], leader: { host: 'a', port: 2223 } },
    ],
    ['TF_CONFIG, chief', tensorFlowConfig({ type: 'chief', index: 0 }), { rank: 0, size: 3 }],
  ];
  test.each(cases)('%s', (_, environment, expected) => {
    expect(launchInfo(environment)).toMatchObject(expected);
  });
});

describe('alone', () => {
  test.each([
    ['nothing set', {}],
    ['one process', { RANK: '0', WORLD_SIZE: '1', LOCAL_RANK: '0' }],
    ['a batch script of Slurm without srun', { SLURM_PROCID: '0', SLURM_NTASKS: '8', SLURM_JOB_ID: '1' }],
    ['a task of an array job', { JOB_COMPLETION_INDEX: '3' }],
    ['a TF_CONFIG of one', tensorFlowConfig({ type: 'worker', index: 0 }, { worker: ['a:1'] })],
  ])('%s', (_, environment) => {
    expect(launchInfo(environment)).toBeUndefined();
  });
});

describe('refused, with the variable that is wrong', () => {
  test.each([
    ['no master', { RANK: '0', WORLD_SIZE: '2' }, /MASTER_ADDR/],
    ['rank outside', { ...torchrun, RANK: '16' }, /rank 16 is not one of 16/],
    ['no number', { ...torchrun, RANK: 'two' }, /RANK is "two"/],
    ['Slurm without size', { ...slurm, SLURM_STEP_NUM_TASKS: undefined }, /SLURM_STEP_NUM_TASKS/],
    ['mpirun without a leader', { ...openMpi, OMPI_COMM_WORLD_SIZE: '4' }, /mpirun -x MASTER_ADDR/],
    ['TF_CONFIG that is no JSON', { TF_CONFIG: '{' }, /not JSON/],
    ['TF_CONFIG null', { TF_CONFIG: 'null' }, /TF_CONFIG/],
    ['TF_CONFIG without task', tensorFlowConfig({}), /task of type/],
    ['TF_CONFIG with a task outside', tensorFlowConfig({ type: 'worker', index: 2 }), /task 2 of 3/],
  ])('%s', (_, environment, message) => {
    expect(() => launchInfo(environment)).toThrow(message);
    expect(() => launchInfo(environment)).toThrow(LaunchError);
  });
});

test('a person overrides the launcher, or does without one', () => {
  expect(launchInfo({}, { rank: 1, size: 2, leader: '[::1]:7000' })).toMatchObject({
    rank: 1,
    size: 2,
    leader: { host: '::1', port: 7000 },
  });
  expect(launchInfo({ RANK: '0', WORLD_SIZE: '2' }, { leader: 'h:7000' })).toMatchObject({ leader: { host: 'h', port: 7000 } });
  expect(() => launchInfo({}, { rank: 1 })).toThrow(/given together/);
  expect(() => launchInfo({}, { rank: 0, size: 2, leader: 'h' })).toThrow(/HOST:PORT/);
  expect(() => launchInfo({}, { rank: 0, size: 2, leader: 'h:99999' })).toThrow(/HOST:PORT/);
});

test.each([
  ['n1', 'n1'],
  ['n1,n2', 'n1'],
  ['n[3,5]', 'n3'],
  ['rack[1-2]-node[04-07],x', 'rack1-node04'],
  ['gpu[010-020]', 'gpu010'],
])('first host of %s', (list, host) => {
  expect(firstHostOf(list)).toBe(host);
});
