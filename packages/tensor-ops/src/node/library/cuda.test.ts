import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, expect, test, vi } from 'vitest';
import { nvidiaFindings } from '../nvidia-findings.js';
import { findCuda, librariesBefore } from './cuda.js';
import { buildFor, cudaMembers, cudaWheels } from './wheels.js';

const root = fs.mkdtempSync(path.join(os.tmpdir(), 'cuda-'));
afterAll(() => fs.rmSync(root, { recursive: true }));
afterEach(() => vi.unstubAllEnvs());
const put = (file: string) => {
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.writeFileSync(file, '');
  return file;
};

test('libraries are found beside TensorFlow, in LD_LIBRARY_PATH and in the system; for each other one there is a command', () => {
  const site = path.join(root, 'site');
  const beside = put(path.join(site, 'nvidia/cublas/lib/libcublas.so.12'));
  const named = put(path.join(root, 'elsewhere/libcudnn.so.9'));
  vi.stubEnv('LD_LIBRARY_PATH', `:${path.join(root, 'nothing')}:${path.dirname(named)}`);
  const system = [
    '2 libs found in cache',
    '\tlibnccl.so.2 (libc6,x86-64) => /usr/lib/libnccl.so.2',
    '\tlibcufft.so.11 (libc6,AArch64) => /lib/x',
  ].join('\n');
  const parts = findCuda(path.join(site, 'tensorflow'), system);
  expect(Object.fromEntries(parts.flatMap(({ name, found }) => (found === undefined ? [] : [[name, found]])))).toEqual({
    'libcublas.so.12': beside,
    'libcudnn.so.9': named,
    'libnccl.so.2': '/usr/lib/libnccl.so.2',
  });
  const command = (name: string) => parts.find((part) => part.name === name)?.command;
  expect(command('libcufft.so.11')).toMatch(
    new RegExp(
      `^python3 -m pip download --no-deps .* nvidia-cufft-cu12==[\\d.]+ -d wheels && python3 -m zipfile -e wheels/nvidia_cufft_cu12-[\\d.]+-\\*\\.whl ${site}$`,
    ),
  );
  expect(command('ptxas')).toMatch(new RegExp(` && chmod \\+x ${site}/nvidia/cuda_nvcc/bin/ptxas$`));
});

test('the report names driver, cards, what was found and the command for each library that is missing', () => {
  const site = path.join(root, 'whole');
  for (const { file } of cudaWheels) put(path.join(site, file));
  const card = { index: 0, name: 'NVIDIA A100-SXM4-80GB', computeCapability: 8, memoryBytes: 80 * 2 ** 30, usedBytes: 2 ** 30 };
  const driver = { version: '550.54.15', cuda: 12.4, gpus: [card, { ...card, index: 1, name: 'Tesla V100', computeCapability: 7 }] };
  const library = path.join(site, 'tensorflow');
  expect(nvidiaFindings(driver, library, '')).toEqual({
    driver: 'NVIDIA 550.54.15, for CUDA up to 12.4',
    'gpu 0': 'NVIDIA A100-SXM4-80GB (Ampere, compute capability 8.0), 1024 of 81920 MiB in use',
    'gpu 1': 'Tesla V100 (Volta, compute capability 7.0), 1024 of 81920 MiB in use',
    cuda: `found ${cudaWheels.map(({ file }) => path.basename(file)).join(', ')}`,
  });
  fs.rmSync(path.join(site, 'nvidia/cudnn/lib/libcudnn.so.9'));
  const { cuda, ...rest } = nvidiaFindings(driver, library, '');
  expect(cuda).toMatch(/; missing libcudnn\.so\.9$/);
  expect(rest['libcudnn.so.9']).toMatch(/^missing, needed for any GPU: python3 -m pip download .* nvidia-cudnn-cu12==/);
  expect(nvidiaFindings({ ...driver, cuda: 11.8 })['driver']).toBe(
    'NVIDIA 550.54.15, for CUDA up to 11.8, too old for CUDA 12: install driver 525 or newer',
  );
  expect(nvidiaFindings(undefined)['driver']).toMatch(/libnvidia-ml\.so\.1 does not answer; in a container: docker run --gpus all/);
});

test('cuSOLVER is loaded before TensorFlow where its wheel lies beside it', () => {
  const site = path.join(root, 'before');
  expect(librariesBefore(path.join(site, 'tensorflow'))).toEqual([]);
  const cusolver = put(path.join(site, 'nvidia/cusolver/lib/libcusolver.so.11'));
  expect(librariesBefore(path.join(site, 'tensorflow'))).toEqual([cusolver]);
});

test('every wheel has the file that it is there for, and what nobody loads is left out', () => {
  for (const { file, project } of cudaWheels) expect(cudaMembers.test(file), project).toBe(true);
  expect(buildFor(true, 'linux-x64')!.wheels.map(({ project }) => project)).toEqual([
    'tensorflow',
    ...cudaWheels.map(({ project }) => project),
  ]);
  for (const kept of [
    'cublas/lib/libcublasLt.so.12',
    'cuda_nvrtc/lib/libnvrtc-builtins.so.12.9',
    'cudnn/lib/libcudnn_ops.so.9',
    'cuda_nvcc/nvvm/libdevice/libdevice.10.bc',
  ])
    expect(cudaMembers.test(`nvidia/${kept}`), kept).toBe(true);
  for (const left of [
    'cusolver/lib/libcusolverMg.so.11',
    'cublas/lib/libnvblas.so.12',
    'cufft/lib/libcufftw.so.11',
    'cuda_nvrtc/lib/libnvrtc.alt.so.12',
    'cuda_nvrtc/lib/libnvrtc-builtins.alt.so.12.9',
    'cuda_cupti/lib/libnvperf_host.so',
    'cublas/include/cublas.h',
  ])
    expect(cudaMembers.test(`nvidia/${left}`), left).toBe(false);
});
