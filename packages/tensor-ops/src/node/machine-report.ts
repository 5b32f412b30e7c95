/** What a machine offers for training and sampling, and what to do about what is missing: the content of `doctor`. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import { installCommand } from '../install-command.js';
import { int8Refusal } from '../ops/int8.js';
import { MissingPackageError } from '../optional-package.js';
import { gpuGeneration } from './gpu-generation.js';
import { cacheDirectory, fixFor } from './library/index.js';
import { hasNvidiaDriver } from './library/place.js';
import { nvidiaDriver } from './nvidia.js';
import { nvidiaFindings } from './nvidia-findings.js';
import { type BackendName, type ChosenBackend, startBackend } from './start-backend.js';

const MIB = 2 ** 20;

/** Findings by name, in the order in which they are shown. */
export interface MachineReport {
  findings: Record<string, string>;
  /** Whether the backend asked for (for `auto`: the TensorFlow runtime) runs. */
  ready: boolean;
}

/** Looks at Node, the system, and the backend, which it starts. */
export async function machineReport(name: BackendName, threads?: number): Promise<MachineReport> {
  const findings: Record<string, string> = {
    node: `${process.version} (needs 20.19 or newer)`,
    system: `${os.platform()} ${os.arch()}, ${os.availableParallelism()} cores, ${os.cpus()[0]?.model ?? 'unknown CPU'}`,
    memory: `${Math.round(os.freemem() / MIB)} of ${Math.round(os.totalmem() / MIB)} MiB free`,
    disk: `${freeSpace('.')} in ${process.cwd()}`,
    cache: `${cacheDirectory()}, ${freeSpace(cacheDirectory())}`,
    packages: `tfjs-core ${tf.version_core}, koffi ${await versionOfKoffi()}`,
  };
  let problem: unknown;
  try {
    const backend = await startBackend(name, threads);
    Object.assign(findings, describe(backend));
    problem = backend.problem;
  } catch (error) {
    findings['backend'] = (error as Error).message;
    problem = (error as Error).cause ?? error;
  }
  const driver = await nvidiaDriver();
  if (driver !== undefined || hasNvidiaDriver()) Object.assign(findings, nvidiaFindings(driver, findings['library']));
  if (problem === undefined) return { findings, ready: true };
  findings['fix'] = MissingPackageError.isInstance(problem) ? installCommand(problem.where!) : fixFor(problem);
  return { findings, ready: false };
}

/** A report for people: a finding a line, and what follows from them. */
export function formatMachineReport({ findings, ready }: MachineReport): string {
  const verdict = ready ? 'yes' : 'no: run the command above, or choose another --backend';
  return Object.entries({ ...findings, ready: verdict })
    .map(([name, value]) => `${name.padEnd(8)} ${value}`)
    .join('\n');
}

function describe(backend: ChosenBackend): Record<string, string> {
  return {
    backend: `${backend.name} ${backend.version} (${backend.reason})`,
    ...(backend.library !== undefined && { library: backend.library }),
    devices: backend.devices.map((device) => device.replace(/^.*\/device:/, '')).join(', '),
    threads: String(backend.threads),
    ...products(backend),
  };
}

/** What multiplies in what, and what would change it. */
function products({ name, computes, gpu }: ChosenBackend): Record<string, string> {
  if (name !== 'tensorflow') return { bf16: 'this backend computes in float32' };
  const refusal = int8Refusal();
  const int8 = refusal === undefined ? 'models opened in int8 multiply in int8' : `models opened in int8 are loaded in float32: ${refusal}`;
  if (gpu === undefined)
    return {
      f32: 'matrix products run in float32',
      bf16:
        computes.bf16 === 'bfloat16'
          ? 'matrix products run in bfloat16 when asked for'
          : 'products asked for in bf16 run in float32, which is faster on this processor',
      int8,
    };
  const { name: generation } = gpuGeneration(gpu.computeCapability);
  return {
    gpu: `${gpu.name} computes`,
    f32:
      computes.f32 === 'TF32'
        ? 'matrix products run in TensorFloat-32 (10 bits of each operand, sums in float32), as by default; tensorFloat32=false makes them float32'
        : 'matrix products run in float32',
    bf16:
      computes.bf16 === 'bfloat16'
        ? 'matrix products run in bfloat16 when asked for, sums in float32'
        : `products asked for in bf16 run in float32: ${generation} has no bfloat16`,
    int8,
  };
}

async function versionOfKoffi(): Promise<string> {
  try {
    return (await import('koffi')).default.version;
  } catch (error) {
    return `not available (${(error as Error).message.split('\n')[0]})`;
  }
}

/** Free space of the disk that holds `folder`, or will once it is made. */
function freeSpace(folder: string): string {
  let existing = path.resolve(folder);
  while (!fs.existsSync(existing)) existing = path.dirname(existing);
  const disk = fs.statfsSync(existing);
  return `${Math.round((disk.bavail * disk.bsize) / MIB)} MiB free`;
}
