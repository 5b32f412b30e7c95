/** What a self-test runs on. */
import type { ChosenBackend } from '@dit-moe/tensor-ops/node';
import type { Multiplies } from './compare.js';

export interface SelftestMachine {
  backend: ChosenBackend;
  usesGpu: boolean;
  /** Number of the GPU, of those that are visible. */
  gpuNumber: number;
  /** What products asked for as f32 are computed in. */
  f32: Multiplies;
}

export const machineOf = (backend: ChosenBackend, gpuNumber = 0): SelftestMachine => ({
  ...{ backend, gpuNumber },
  usesGpu: backend.devices.some((device) => /GPU/.test(device)),
  f32: backend.computes.f32 === 'TF32' ? 'tf32' : 'f32',
});
