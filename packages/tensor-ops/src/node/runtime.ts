/**
 * Starting the TensorFlow runtime: find libtensorflow, load it, register tfjs' `tensorflow` backend on it.
 */
import os from 'node:os';
import util from 'node:util';
import * as tf from '@tensorflow/tfjs-core';
import { ArgumentError } from '../errors.js';
import { optionalPackage } from '../optional-package.js';
import type { Device, TensorFlowBinding } from './binding.js';
import type { Cluster } from './cluster/index.js';
import { clusterConfig, serverDef } from './cluster/server-def.js';
import { registerGradients } from './gradients.js';
import { type FoundLibrary, findLibtensorflow } from './library/index.js';
import { RuntimeStartError } from './tensorflow-error.js';

export interface TensorFlowOptions {
  /** Threads inside one op (default: every core). */
  threads?: number;
  /** Ops run at once inside a compiled step (default: as many as `threads`). */
  interOpThreads?: number;
  /** Take GPU memory as needed (default true, so that other processes can share the card). */
  gpuMemoryGrowth?: boolean;
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
  /** Number of live TensorFlow tensors. */
  numTensors(): number;
  /**
   * Removes the backend at once, and frees all tensors and the TensorFlow context after the compiled steps that still run, whose
   * `run()` is rejected. What was made on it can only be disposed afterwards; `useTensorFlow` starts a new runtime.
   */
  shutdown(): Promise<void>;
}

/** tfjs' name of the backend; tfjs-node's kernels are registered for it. */
export const BACKEND_NAME = 'tensorflow';

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
  const gpuMemoryGrowth = options.gpuMemoryGrowth ?? true;
  const key = JSON.stringify({ threads, interOpThreads, gpuMemoryGrowth });
  if (starting !== undefined) {
    if (options.cluster !== undefined)
      throw new RuntimeStartError('The TensorFlow runtime runs already; a cluster is joined when it starts.');
    const asked = options.threads !== undefined || options.interOpThreads !== undefined || options.gpuMemoryGrowth !== undefined;
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
  starting = start({ threads, interOpThreads, gpuMemoryGrowth }, options);
  try {
    return await starting;
  } catch (error) {
    starting = undefined;
    throw error;
  }
}

async function start(
  context: { threads: number; interOpThreads: number; gpuMemoryGrowth: boolean },
  options: TensorFlowOptions,
): Promise<TensorFlowRuntime> {
  await optionalPackage('koffi', 'calls into libtensorflow', () => import('koffi'));
  const { loadCApi } = await import('./c-api.js');
  const { TensorFlowBinding: Binding } = await import('./binding.js');
  const library = await findLibtensorflow({ fetch: options.fetch ?? true, onProgress: options.onProgress });
  // Hides TensorFlow's own informational lines; warnings and errors stay.
  process.env['TF_CPP_MIN_LOG_LEVEL'] ??= '1';
  const api = loadCApi(library.directory);
  const binding = new Binding(api, {
    intraOpThreads: context.threads,
    interOpThreads: context.interOpThreads,
    gpuMemoryGrowth: context.gpuMemoryGrowth,
    ...(options.cluster && { clusterConfig: clusterConfig(options.cluster.rank, options.cluster.size) }),
  });
  if (options.cluster !== undefined) await join(options.cluster, binding);
  threadPool = context.threads;
  await registerGradients();
  provideUtil();
  // Registers tfjs-node's kernels for the backend name; imported late because it needs the functions provided above.
  await import('@tensorflow/tfjs-node-gpu/dist/register_all_kernels.js');
  const { TensorFlowNodeBackend } = await import('./backend.js');
  tf.registerBackend(BACKEND_NAME, () => new TensorFlowNodeBackend(binding) as unknown as tf.KernelBackend, 3);
  if (!tf.setBackend(BACKEND_NAME)) throw new RuntimeStartError('tfjs refused the TensorFlow backend.');
  return {
    version: binding.TF_Version,
    library,
    devices: binding.devices,
    threads: { intraOp: context.threads, interOp: context.interOpThreads },
    usesGpu: binding.isUsingGpuDevice(),
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

/** Makes the context a member of the cluster, and lends the cluster its calls. */
async function join(cluster: Cluster, binding: TensorFlowBinding): Promise<void> {
  await binding.enableCollectives(serverDef(cluster.addresses, cluster.rank, binding.config));
  cluster.attach({
    abort: (message) => binding.abortCollectives(message),
    report: (message) => binding.reportToCluster(message),
    barrier: (name, timeoutMs) => binding.waitAtBarrier(name, timeoutMs),
  });
}

/** tfjs-node 4.22 calls two functions of `node:util` that Node warns of from 22 on; 23 removed one of them. */
function provideUtil(): void {
  Object.assign(util, { isNullOrUndefined: (value: unknown) => value === null || value === undefined, isArray: Array.isArray });
}
