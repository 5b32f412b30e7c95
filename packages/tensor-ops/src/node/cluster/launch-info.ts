/**
 * Which rank of which cluster this process is, read from the variables that launchers set. A pure function of the environment.
 *
 * Names and meanings: torchrun and torch elastic, Slurm's srun, Open MPI's mpirun, PMI (MPICH, Intel MPI), Kubernetes Indexed Jobs and
 * JobSets, TensorFlow's TF_CONFIG, each from its documentation.
 */
import { DitMoeError } from '../../errors.js';
import { firstHostOf } from './slurm-hosts.js';

/** One process of a cluster, as its launcher describes it. */
export interface Launch {
  /** From 0. */
  rank: number;
  /** Number of processes, at least 2. */
  size: number;
  /** Rank among the processes of this machine, from 0: chooses the GPU. */
  localRank: number;
  /** Number of processes on this machine, if the launcher says so: they share its cores. */
  localSize?: number;
  /** Where the processes meet: rank 0 listens there. */
  leader: { host: string; port: number };
  /** `host:port` of TensorFlow's server of every rank, where the launcher has fixed them (TF_CONFIG). */
  addresses?: readonly string[];
  /** The launcher, for messages. */
  launcher: string;
}

/** The launcher's variables contradict each other or leave something out. */
export class LaunchError extends DitMoeError {
  static override readonly code = 'E_LAUNCH';
}

/** What a person may set instead of, or over, the launcher's variables. */
export interface LaunchOverrides {
  rank?: number;
  size?: number;
  /** `host:port`. */
  leader?: string;
}

type Environment = Readonly<Record<string, string | undefined>>;

interface Launcher {
  name: string;
  /** The variables that only this launcher sets; all must be there. */
  marks: readonly string[];
  rank: string;
  size: string;
  localRank?: string;
  localSize?: string;
  leader(environment: Environment, launcher: Launcher): { host: string; port: number };
}

/** Where ranks meet if the launcher names a machine but no port. */
const DEFAULT_PORT = 29_500;
/** Slurm jobs that share a machine get ports of their own: this one and the following as many, by the job's number. */
const FIRST_SLURM_PORT = 20_000;

const launchers: readonly Launcher[] = [
  {
    name: 'torchrun',
    marks: ['RANK', 'WORLD_SIZE'],
    rank: 'RANK',
    size: 'WORLD_SIZE',
    localRank: 'LOCAL_RANK',
    localSize: 'LOCAL_WORLD_SIZE',
    leader(environment, launcher) {
      const { host, port } = masterOf(environment, launcher);
      // torchrun's own store listens at that port then.
      return { host, port: environment['TORCHELASTIC_USE_AGENT_STORE'] === 'True' ? port + 1 : port };
    },
  },
  {
    // A plain `node` inside a batch script sees the job's variables too, but has no step of its own.
    name: 'Slurm',
    marks: ['SLURM_STEP_ID', 'SLURM_PROCID'],
    rank: 'SLURM_PROCID',
    size: 'SLURM_STEP_NUM_TASKS',
    localRank: 'SLURM_LOCALID',
    leader(environment, launcher) {
      if (environment['MASTER_ADDR'] !== undefined) return masterOf(environment, launcher);
      const nodes = environment['SLURM_STEP_NODELIST'];
      if (nodes === undefined)
        throw new LaunchError('Slurm gives no SLURM_STEP_NODELIST.', { hint: 'Set MASTER_ADDR to the first machine.' });
      const job = wholeNumber(environment, 'SLURM_JOB_ID') ?? 0;
      return { host: firstHostOf(nodes), port: FIRST_SLURM_PORT + (job % FIRST_SLURM_PORT) };
    },
  },
  {
    name: 'Open MPI',
    marks: ['OMPI_COMM_WORLD_RANK'],
    rank: 'OMPI_COMM_WORLD_RANK',
    size: 'OMPI_COMM_WORLD_SIZE',
    localRank: 'OMPI_COMM_WORLD_LOCAL_RANK',
    localSize: 'OMPI_COMM_WORLD_LOCAL_SIZE',
    leader: (environment, launcher) =>
      environment['OMPI_COMM_WORLD_LOCAL_SIZE'] === environment['OMPI_COMM_WORLD_SIZE'] && environment['MASTER_ADDR'] === undefined
        ? { host: '127.0.0.1', port: DEFAULT_PORT }
        : masterOf(environment, launcher, 'Give it to every process: mpirun -x MASTER_ADDR=HOST.'),
  },
  {
    name: 'PMI (MPICH, Intel MPI)',
    marks: ['PMI_RANK', 'PMI_SIZE'],
    rank: 'PMI_RANK',
    size: 'PMI_SIZE',
    localRank: 'MPI_LOCALRANKID',
    localSize: 'MPI_LOCALNRANKS',
    leader: (environment, launcher) => masterOf(environment, launcher, 'Give it to every process: mpirun -genv MASTER_ADDR HOST.'),
  },
  {
    name: 'Kubernetes Indexed Job',
    marks: ['JOB_COMPLETION_INDEX', 'WORLD_SIZE'],
    rank: 'JOB_COMPLETION_INDEX',
    size: 'WORLD_SIZE',
    leader: (environment, launcher) => masterOf(environment, launcher, 'Set it to the name of the first pod in its headless service.'),
  },
];

/**
 * The place of this process in a cluster, or `undefined` if it runs alone (no launcher, or one process).
 *
 * @param environment usually `process.env`
 * @param overrides what a person gave on the command line; `rank`, `size` and `leader` together need no launcher
 * @throws LaunchError if variables are missing, no whole numbers, or contradict each other
 */
export function launchInfo(environment: Environment, overrides: LaunchOverrides = {}): Launch | undefined {
  const launch = fromTensorFlowConfig(environment) ?? fromLauncher(environment, overrides) ?? fromOverrides(overrides);
  if (launch === undefined) return undefined;
  const { rank = launch.rank, size = launch.size, leader } = overrides;
  if (!(rank < size)) throw new LaunchError(`${launch.launcher}: rank ${rank} is not one of ${size} processes, which count from 0.`);
  if (size === 1) return undefined;
  return { ...launch, rank, size, leader: leader === undefined ? launch.leader : parseAddress(leader) };
}

/**
 * The place of this process among those that a launcher started together, for work that needs no meeting; `undefined` if it runs alone.
 * @throws LaunchError if variables are missing, no whole numbers, or contradict each other
 */
export function rankInJob(environment: Environment): { rank: number; size: number; source: string } | undefined {
  // Where the processes would meet is of no interest.
  const launch = fromLauncher(environment, { leader: 'nobody:1' });
  if (launch === undefined || launch.size === 1) return undefined;
  const { rank, size } = launch;
  if (!(rank < size)) throw new LaunchError(`${launch.launcher}: rank ${rank} is not one of ${size} processes, which count from 0.`);
  return { rank, size, source: `rank ${rank} of ${launch.launcher}` };
}

function fromLauncher(environment: Environment, overrides: LaunchOverrides): Launch | undefined {
  const launcher = launchers.find(({ marks }) => marks.every((name) => environment[name] !== undefined));
  if (launcher === undefined) return undefined;
  const required = (name: string): number => {
    const value = wholeNumber(environment, name);
    if (value === undefined) throw new LaunchError(`${launcher.marks[0]} is set as by ${launcher.name}, but ${name} is not.`);
    return value;
  };
  const rank = required(launcher.rank);
  const size = required(launcher.size);
  const localRank = (launcher.localRank === undefined ? undefined : wholeNumber(environment, launcher.localRank)) ?? 0;
  // One process needs no place to meet, and launchers that start one often name none.
  const leader =
    overrides.leader !== undefined || size === 1 ? { host: '127.0.0.1', port: DEFAULT_PORT } : launcher.leader(environment, launcher);
  const localSize = launcher.localSize === undefined ? undefined : wholeNumber(environment, launcher.localSize);
  return { rank, size, localRank, ...(localSize !== undefined && { localSize }), leader, launcher: launcher.name };
}

function fromOverrides({ rank, size, leader }: LaunchOverrides): Launch | undefined {
  const given = [rank, size, leader].filter((value) => value !== undefined).length;
  if (given === 0) return undefined;
  if (rank === undefined || size === undefined || leader === undefined)
    throw new LaunchError('No launcher was recognised, so rank, size and leader must be given together.');
  return { rank, size, localRank: 0, leader: parseAddress(leader), launcher: 'the command line' };
}

/** TF_CONFIG: `{"cluster": {"chief": [...], "worker": [...]}, "task": {"type": "worker", "index": 0}}`; chiefs come first. */
function fromTensorFlowConfig(environment: Environment): Launch | undefined {
  const text = environment['TF_CONFIG'];
  if (text === undefined || text === '') return undefined;
  const refuse = (problem: string): never => {
    throw new LaunchError(`TF_CONFIG ${problem}.`, { found: text });
  };
  let config: { cluster?: Record<string, unknown>; task?: { type?: unknown; index?: unknown } };
  try {
    config = JSON.parse(text);
  } catch {
    return refuse('is not JSON');
  }
  const addressesOf = (job: string): string[] => {
    const value = config?.cluster?.[job] ?? [];
    return Array.isArray(value) && value.every((a) => typeof a === 'string') ? value : refuse(`has no list of addresses in cluster.${job}`);
  };
  const [chiefs, workers] = [addressesOf('chief'), addressesOf('worker')];
  const { type, index } = config?.task ?? {};
  if ((type !== 'chief' && type !== 'worker') || typeof index !== 'number') return refuse('has no task of type chief or worker');
  const addresses = [...chiefs, ...workers];
  const rank = index + (type === 'worker' ? chiefs.length : 0);
  if (!Number.isInteger(index) || rank < 0 || rank >= addresses.length)
    return refuse(`names task ${index} of ${addresses.length} processes`);
  const { host, port } = parseAddress(addresses[0]);
  // TensorFlow's server takes the port itself; the processes meet at the one after it.
  return { rank, size: addresses.length, localRank: 0, leader: { host, port: port + 1 }, addresses, launcher: 'TF_CONFIG' };
}

function masterOf(environment: Environment, launcher: Launcher, hint = 'Set it to the machine of rank 0.'): { host: string; port: number } {
  const host = environment['MASTER_ADDR'];
  if (host === undefined || host === '') throw new LaunchError(`${launcher.name} gives no MASTER_ADDR, the machine of rank 0.`, { hint });
  return { host, port: wholeNumber(environment, 'MASTER_PORT') ?? DEFAULT_PORT };
}

function wholeNumber(environment: Environment, name: string): number | undefined {
  const text = environment[name];
  if (text === undefined || text === '') return undefined;
  if (!/^\d{1,9}$/.test(text)) throw new LaunchError(`${name} is ${JSON.stringify(text)}, which is no whole number.`);
  return Number(text);
}

/** `host:port`; IPv6 addresses stand in brackets. */
function parseAddress(text: string): { host: string; port: number } {
  const match = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port < 1 || port > 65_535)
    throw new LaunchError(`Expected HOST:PORT, found ${JSON.stringify(text)}.`, {
      hint: 'An IPv6 address stands in brackets: [::1]:29500.',
    });
  return { host: match[1] ?? match[2], port };
}
