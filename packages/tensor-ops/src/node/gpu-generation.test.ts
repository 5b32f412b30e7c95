import { expect, test } from 'vitest';
import { gpuGeneration, gpuPeak } from './gpu-generation.js';

test('what multiplies in what follows from the generation', () => {
  expect(gpuGeneration(8)).toEqual({ name: 'Ampere', f32: 'TF32', bf16: true });
  expect(gpuGeneration(8, false)).toEqual({ name: 'Ampere', f32: 'float32', bf16: true });
  expect(gpuGeneration(7.5)).toEqual({ name: 'Turing', f32: 'float32', bf16: false });
  expect(gpuGeneration(12).name).toBe('Blackwell');
  expect(gpuGeneration(3.5)).toEqual({ name: 'before Pascal', f32: 'float32', bf16: false });
});

test('peaks are found by the names that drivers give', () => {
  expect(gpuPeak('NVIDIA A100-SXM4-80GB')?.bfloat16).toBe(312);
  expect(gpuPeak('NVIDIA H100 PCIe')?.bfloat16).toBe(756);
  expect(gpuPeak('NVIDIA H100 80GB HBM3')?.bfloat16).toBe(989);
  expect(gpuPeak('NVIDIA L40S')?.TF32).toBe(183);
  expect(gpuPeak('NVIDIA L4')?.TF32).toBe(60);
  expect(gpuPeak('Tesla T4')).toEqual({ float32: 8.1 });
  expect(gpuPeak('NVIDIA GeForce GTX 1080')).toBeUndefined();
});
