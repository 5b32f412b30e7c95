/**
 * Starting the TensorFlow runtime: find libtensorflow, load it, register tfjs' `tensorflow` backend on it.
 */
import os from 'node:os';
import util from 'node:util';
import * as tf from '@tensorflow/tfjs-core';
import { ArgumentError } from '../errors.js';
import { optionalPackage } from '../optional-package.js';
import type { Computes } from '../tensorflow-backend.js';
import type { Device, TensorFlowBinding } from './binding.js';
import type { Cluster } from './cluster/index.js';
import { clusterConfig, serverDef } from './cluster/server-def.js';
import { gpuGeneration } from './gpu-generation.js';
import { registerGradients } from './gradients.js';
import { type FoundLibrary, findLibtensorflow } from './library/index.js';
import { chosenGpu, type NvidiaDriver, type NvidiaGpu, nvidiaDriver, visibleGpus } from './nvidia.js';
import { hasFastBf16 } from './processor.js';
import { RuntimeStartError } from './tensorflow-error.js';

/** Device, threads and precision of the runtime. */
export interface TensorFlowOptions {
  /** Threads inside one op (default: every core). */
  threads?: number;
  /** Ops run at once inside a compiled step (default: as many as `threads`). */
  interOpThreads?: number;
  /** Take GPU memory as needed (default true, so that other processes can share the card). */
  gpuMemoryGrowth?: boolean;
  /** Mebibytes of GPU memory that may be taken (default: all of it). */
  gpuMemoryLimit?: number;
  /** Number of the GPU to compute on, of those that `CUDA_VISIBLE_DEVICES` leaves (default 0). */
  gpu?: number;
  /** Let float32 products be TensorFloat-32 on GPUs that have it, with 10 bits of each operand (default true, as TensorFlow and the PyTorch reference). */
  tensorFloat32?: boolean;
  /** Only kernels that give the same bits in every run, which on a GPU are slower (default false). CPUs have no others here. */
  deterministic?: boolean;
  /** Download libtensorflow if it is nowhere on the machine (default true). */
  fetch?: boolean;
  /** Receives one line per slow stage, such as the download. */
  onProgress?: (message: string) => void;
  /** The cluster that this process has joined (default: it computes alone). To be given at the first start of the process. */
  cluster?: Cluster;
}

/** The running TensorFlow runtime. */
export interface TensorFlowRuntime {
  /** TensorFlow's version, such as `2.21.0`. */
  readonly version: string;
  readonly library: FoundLibrary;
  readonly devices: readonly Device[];
  readonly threads: { intraOp: number; interOp: number };
  readonly usesGpu: boolean;
  /** The GPU, as its driver describes it; `undefined` without one, or where the driver does not answer. */
  readonly gpu?: NvidiaGpu;
  /** How it computes, as far as results depend on it. */
  readonly computes: Computes;
  /** Number of live TensorFlow tensors. */
  numTensors(): number;
  /**
   * Removes the backend at once, and frees all tensors and the TensorFlow context after the compiled steps that still run, whose
   * `run()` is rejected. What was made on it can only be disposed afterwards; `useTensorFlow` starts a new runtime.
   */
  shutdown(): Promise<void>;
}

/** tfjs' name of the backend; tfjs-node's kernels are registered for it. */
const BACKEND_NAME = 'tensorflow';

let starting: Promise<TensorFlowRuntime> | undefined;
let startedWith: string | undefined;
/** TensorFlow keeps the thread pool of its first context for the whole process. */
let threadPool: number | undefined;

/**
 * Starts the TensorFlow runtime and makes it the current tfjs backend. Later calls return the same runtime.
 *
 * @throws ArgumentError for thread counts that are not positive integers
 * @throws RuntimeStartError if it runs already with other thread or memory options, or ran with other `threads`
 * @throws MissingPackageError without the package koffi, which calls into libtensorflow
 * @throws LibraryLoadError, LibraryError if libtensorflow cannot be found, fetched or loaded
 * @throws TensorFlowError if TensorFlow's server of a cluster cannot be started; the process must be started anew then
 */
export async function useTensorFlow(options: TensorFlowOptions = {}): Promise<TensorFlowRuntime> {
  const threads = options.threads ?? threadPool ?? os.availableParallelism();
  const interOpThreads = options.interOpThreads ?? threads;
  for (const [name, value] of Object.entries({ threads, interOpThreads })) {
    if (!Number.isInteger(value) || value < 1) throw new ArgumentError(`useTensorFlow: ${name}`, 'a positive integer', value);
  }
  for (const [name, least] of [
    ['gpu', 0],
    ['gpuMemoryLimit', 1],
  ] as const) {
    const value = options[name];
    if (value !== undefined && !(Number.isInteger(value) && value >= least))
      throw new ArgumentError(`useTensorFlow: ${name}`, `an integer of at least ${least}`, value);
  }
  const { gpuMemoryGrowth = true, tensorFloat32 = true, deterministic = false, gpuMemoryLimit, gpu } = options;
  const context: ContextSettings = {
    ...{ threads, interOpThreads, gpuMemoryGrowth, tensorFloat32, deterministic },
    ...(gpuMemoryLimit !== undefined && { gpuMemoryLimit }),
    ...(gpu !== undefined && { gpu }),
  };
  const key = JSON.stringify(context);
  if (starting !== undefined) {
    if (options.cluster !== undefined)
      throw new RuntimeStartError('The TensorFlow runtime runs already; a cluster is joined when it starts.');
    const asked = Object.keys(context).some((name) => options[name as keyof ContextSettings] !== undefined);
    if (asked && key !== startedWith) {
      throw new RuntimeStartError(`The TensorFlow runtime already runs with ${startedWith}; it cannot be started again with ${key}.`);
    }
    const runtime = await starting;
    await tf.setBackend(BACKEND_NAME);
    return runtime;
  }
  if (threadPool !== undefined && threadPool !== threads) {
    throw new RuntimeStartError(
      `The TensorFlow runtime ran with ${threadPool} threads in this process, and TensorFlow keeps them; it cannot be started again with ${threads}.`,
    );
  }
  startedWith = key;
  starting = start(context, options);
  try {
    return await starting;
  } catch (error) {
    starting = undefined;
    throw error;
  }
}

/** What a runtime is started with, and keeps. */
type ContextSettings = Required<
  Pick<TensorFlowOptions, 'threads' | 'interOpThreads' | 'gpuMemoryGrowth' | 'tensorFloat32' | 'deterministic'>
> &
  Pick<TensorFlowOptions, 'gpuMemoryLimit' | 'gpu'>;

async function start(context: ContextSettings, options: TensorFlowOptions): Promise<TensorFlowRuntime> {
  await optionalPackage('koffi', 'calls into libtensorflow', () => import('koffi'));
  const { loadCApi } = await import('./c-api.js');
  const { TensorFlowBinding: Binding } = await import('./binding.js');
  const library = await findLibtensorflow({ fetch: options.fetch ?? true, onProgress: options.onProgress });
  // Hides TensorFlow's own informational lines; warnings and errors stay.
  process.env['TF_CPP_MIN_LOG_LEVEL'] ??= '1';
  chooseKernels(context);
  const api = loadCApi(library.directory);
  const driver = await nvidiaDriver();
  const number = gpuOf(context.gpu, driver, options.cluster);
  const binding = new Binding(api, {
    intraOpThreads: context.threads,
    interOpThreads: context.interOpThreads,
    gpuMemoryGrowth: context.gpuMemoryGrowth,
    ...(context.gpuMemoryLimit !== undefined && { gpuMemoryLimit: context.gpuMemoryLimit }),
    ...(number !== undefined && { gpu: number }),
    ...(options.cluster && { clusterConfig: clusterConfig(options.cluster.rank, options.cluster.size) }),
  });
  if (options.cluster !== undefined) await join(options.cluster, binding);
  threadPool = context.threads;
  await registerGradients();
  provideUtil();
  // Registers tfjs-node's kernels for the backend name; imported late because it needs the functions provided above.
  await import('@tensorflow/tfjs-node-gpu/dist/register_all_kernels.js');
  const { TensorFlowNodeBackend } = await import('./backend.js');
  const gpu = binding.isUsingGpuDevice() ? driver && chosenGpu(driver, number) : undefined;
  const generation = gpu && gpuGeneration(gpu.computeCapability, context.tensorFloat32);
  const computes: Computes = {
    version: binding.TF_Version,
    f32: generation?.f32 ?? 'float32',
    // Where the driver does not answer, a GPU of today is assumed.
    bf16: (binding.isUsingGpuDevice() ? (generation?.bf16 ?? true) : hasFastBf16()) ? 'bfloat16' : 'float32',
    // Of the ops here every CPU kernel is.
    deterministic: context.deterministic || !binding.isUsingGpuDevice(),
    ...(gpu && { gpu: gpu.name }),
  };
  tf.registerBackend(
    BACKEND_NAME,
    () => new TensorFlowNodeBackend(binding, computes, library.directory, options.cluster) as unknown as tf.KernelBackend,
    3,
  );
  if (!tf.setBackend(BACKEND_NAME)) throw new RuntimeStartError('tfjs refused the TensorFlow backend.');
  return {
    version: binding.TF_Version,
    library,
    devices: binding.devices,
    threads: { intraOp: context.threads, interOp: context.interOpThreads },
    usesGpu: binding.isUsingGpuDevice(),
    ...(gpu && { gpu }),
    computes,
    numTensors: () => binding.getNumOfTensors(),
    shutdown() {
      if (!binding.stopped) {
        starting = undefined;
        tf.removeBackend(BACKEND_NAME);
      }
      return binding.shutdown();
    },
  };
}

/** Kernels are chosen by variables that TensorFlow and CUDA read when they first compute; its C API has nothing for it. */
function chooseKernels({ tensorFloat32, deterministic }: ContextSettings): void {
  if (!tensorFloat32) process.env['NVIDIA_TF32_OVERRIDE'] = '0';
  if (deterministic) process.env['TF_DETERMINISTIC_OPS'] = '1';
}

/** Processes that share a machine take its GPUs in turns, unless their launcher left each of them one. */
function gpuOf(asked: number | undefined, driver: NvidiaDriver | undefined, cluster: Cluster | undefined): number | undefined {
  const gpus = driver === undefined ? 0 : visibleGpus(driver).length;
  return asked ?? (cluster !== undefined && gpus > 1 ? cluster.localRank % gpus : undefined);
}

/** Makes the context a member of the cluster, and lends the cluster its calls. */
async function join(cluster: Cluster, binding: TensorFlowBinding): Promise<void> {
  await binding.enableCollectives(serverDef(cluster.addresses, cluster.rank, binding.config));
  cluster.attach({
    abort: (message) => binding.abortCollectives(message),
    report: (message) => binding.reportToCluster(message),
    barrier: (name, timeoutMs) => binding.waitAtBarrier(name, timeoutMs),
    publish: (key, text) => binding.insertKeyValue(key, text),
    published: (key, timeoutMs) => binding.keyValue(key, timeoutMs),
  });
}

/** tfjs-node 4.22 calls two functions of `node:util` that Node warns of from 22 on; 23 removed one of them. */
function provideUtil(): void {
  Object.assign(util, { isNullOrUndefined: (value: unknown) => value === null || value === undefined, isArray: Array.isArray });
}
