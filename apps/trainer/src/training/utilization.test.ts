import { tensorFlowBackend } from '@dit-moe/tensor-ops';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import { expect, test, vi } from 'vitest';
import { peakFlops } from './utilization.js';

test('peaks: of a processor measured, of a GPU by its name and what multiplies there', async () => {
  const runtime = await useTensorFlow();
  expect(peakFlops({ precision: 'f32' })).toBeGreaterThan(1e8);
  const backend = tensorFlowBackend()!;
  const gpu = vi.spyOn(backend, 'isUsingGpuDevice', 'get').mockReturnValue(true);
  const computes = (f32: 'TF32' | 'float32', name?: string) =>
    Object.assign(backend, { computes: { ...backend.computes, f32, bf16: 'bfloat16', ...(name !== undefined && { gpu: name }) } });
  computes('TF32', 'NVIDIA A100-SXM4-40GB');
  expect([peakFlops({ precision: 'f32' }), peakFlops({ precision: 'bf16' })]).toEqual([156e12, 312e12]);
  computes('float32', 'NVIDIA A100-SXM4-40GB');
  expect(peakFlops({ precision: 'f32' })).toBe(19.5e12);
  computes('float32', 'NVIDIA Something New');
  expect(peakFlops({ precision: 'bf16' })).toBeUndefined();
  gpu.mockRestore();
  await runtime.shutdown();
});
