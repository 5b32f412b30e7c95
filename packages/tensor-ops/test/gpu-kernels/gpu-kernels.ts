/** TensorFlow's kernels for GPUs, as `read-gpu-kernels.ts` found them in its GPU build. */
import fs from 'node:fs';

/** A kernel, or several that differ in types only. */
export interface GpuKernel {
  /** Allowed data types by attribute; attributes that are not here are free. */
  types: Record<string, number[]>;
  /** Inputs and outputs that lie in host memory, by their names in the op's definition. */
  host: string[];
}

export interface GpuKernels {
  /** TensorFlow's. */
  version: string;
  kernels: Readonly<Record<string, readonly GpuKernel[]>>;
}

export const gpuKernels = JSON.parse(fs.readFileSync(new URL('gpu-kernels.json', import.meta.url), 'utf8')) as GpuKernels;
