/**
 * Chooses and starts the tfjs backend: the TensorFlow runtime if it can be had, else WebAssembly, saying so in one line.
 */
import os from 'node:os';
import * as tf from '@tensorflow/tfjs-core';
import { DitMoeError } from '../errors.js';
import { optionalPackage } from '../optional-package.js';
import type { Computes } from '../tensorflow-backend.js';
import { registerGradients } from './gradients.js';
import type { NvidiaGpu } from './nvidia.js';
import { type TensorFlowOptions, useTensorFlow } from './runtime.js';

/** The backend asked for cannot be started. */
export class BackendError extends DitMoeError {
  static override readonly code = 'E_BACKEND';
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
  }
}

/** What {@link startBackend} accepts. */
const backendNames = ['auto', 'tensorflow', 'wasm', 'cpu'] as const;
/** Name of a backend that a command can be told. */
export type BackendName = (typeof backendNames)[number];

/** Settings of the TensorFlow runtime, where it is what is started. */
export type BackendSettings = Omit<TensorFlowOptions, 'fetch' | 'onProgress'>;

/** The backend that runs. */
export interface ChosenBackend {
  readonly name: Exclude<BackendName, 'auto'>;
  /** Why this one, in one line. */
  readonly reason: string;
  readonly version: string;
  /** Threads that compute: those inside one op, or as many ops at once if that is more. */
  readonly threads: number;
  readonly devices: readonly string[];
  /** Where the native library was found, if there is one. */
  readonly library?: string;
  /** How it computes, as far as results depend on it. */
  readonly computes: Computes;
  /** The GPU, where its driver answers. */
  readonly gpu?: NvidiaGpu;
  /** Why `auto` could not have the TensorFlow runtime. */
  readonly problem?: Error;
}

/**
 * Starts the backend. `auto` falls back from the TensorFlow runtime to WebAssembly; a backend asked for by name does not.
 * @param threads threads inside one operation, as many operations at once (default: every core); or settings of the TensorFlow runtime,
 *   which other backends pass over, but for the cluster that this process has joined: that computes with TensorFlow only
 * @param onProgress receives a line when something slow begins, and when `auto` has to fall back
 * @throws BackendError if the backend asked for is not available
 */
export async function startBackend(
  name: BackendName,
  threads?: number | BackendSettings,
  onProgress?: (message: string) => void,
): Promise<ChosenBackend> {
  if (name === 'auto' || name === 'tensorflow') {
    try {
      const runtime = await useTensorFlow({ ...(typeof threads === 'object' ? threads : { threads }), onProgress });
      return {
        name: 'tensorflow',
        reason: name === 'auto' ? 'the TensorFlow library is available' : 'asked for',
        version: runtime.version,
        threads: Math.max(runtime.threads.intraOp, runtime.threads.interOp),
        devices: runtime.devices.map((d) => d.name),
        library: runtime.library.directory,
        computes: runtime.computes,
        ...(runtime.gpu && { gpu: runtime.gpu }),
      };
    } catch (error) {
      const { message } = error as Error;
      if (name === 'tensorflow' || (typeof threads === 'object' && threads.cluster !== undefined))
        throw new BackendError(`The TensorFlow backend is not available: ${message}`, { cause: error });
      const portable = await startPortable('wasm', `the TensorFlow backend is not available (${message})`).catch((second: Error) => {
        throw new BackendError(`The TensorFlow backend is not available: ${message} ${second.message}`, { cause: error });
      });
      // 1,837 seconds of a processor for the trainer's demo, where TensorFlow takes 131.
      onProgress?.(`TensorFlow is not available, so WebAssembly computes, some 14 times slower: ${message}`);
      return { ...portable, problem: error as Error };
    }
  }
  return startPortable(name, 'asked for');
}

async function startPortable(name: 'wasm' | 'cpu', reason: string): Promise<ChosenBackend> {
  try {
    const packageName = `@tensorflow/tfjs-backend-${name}`;
    const load = () => (name === 'wasm' ? import('@tensorflow/tfjs-backend-wasm') : import('@tensorflow/tfjs-backend-cpu'));
    // Also there with the union package; loading it twice would register every kernel again.
    if (tf.findBackendFactory(name) === null) await optionalPackage(packageName, `is the ${name} backend`, load);
    await registerGradients();
    if (!(await tf.setBackend(name))) throw new Error('tfjs refused it');
  } catch (error) {
    throw new BackendError(`The ${name} backend is not available: ${(error as Error).message}`, { cause: error });
  }
  await tf.ready();
  // tfjs' cpu backend advises to install tfjs-node when it is first used.
  if (name === 'cpu') (tf.backend() as unknown as { firstUse: boolean }).firstUse = false;
  // tfjs switches the threads of the wasm backend off on Node.
  const devices = [`${os.cpus()[0]?.model ?? 'CPU'} (1 of ${os.availableParallelism()} cores)`];
  const version = tf.version_core;
  return { name, reason, version, threads: 1, devices, computes: { version, f32: 'float32', bf16: 'float32', deterministic: true } };
}
