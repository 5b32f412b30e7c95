/** A GPU, stood in for by what its driver would say: the dry run compares the run with its memory. */
import fs from 'node:fs';
import { tensorFlowBackend } from '@dit-moe/tensor-ops';
import { type NvidiaDriver, startBackend } from '@dit-moe/tensor-ops/node';
import { afterAll, expect, test, vi } from 'vitest';
import { makeRoot, tinyConfig } from '../testing/tiny-run.js';
import { dryRun, formatDryRun } from './dry-run.js';

const GIB = 2 ** 30;
const driver = vi.hoisted(() => ({ answer: undefined as NvidiaDriver | undefined }));
vi.mock('@dit-moe/tensor-ops/node', async (original) => ({
  ...(await original<typeof import('@dit-moe/tensor-ops/node')>()),
  nvidiaDriver: async () => driver.answer,
}));

const { root, images } = makeRoot();
afterAll(() => fs.rmSync(root, { recursive: true }));

test('where a GPU computes, the run is compared with what its driver says it has, not with the memory of the host', async () => {
  await startBackend('tensorflow');
  const card = (memoryBytes: number) => ({ index: 0, name: 'NVIDIA T4', computeCapability: 7.5, memoryBytes, usedBytes: 0 });
  const asOn = async (memoryBytes: number) => {
    driver.answer = { version: '550.54.15', cuda: 12.4, gpus: [card(memoryBytes)] };
    const config = tinyConfig(images);
    const plan = await dryRun(config);
    return { verdict: plan.verdicts[0], text: formatDryRun(config, plan) };
  };
  expect((await asOn(16 * GIB)).verdict.target).toBe('this machine');
  const spy = vi.spyOn(tensorFlowBackend()!, 'isUsingGpuDevice', 'get').mockReturnValue(true);
  const large = await asOn(16 * GIB);
  expect(large.verdict).toMatchObject({ target: 'NVIDIA T4', bytes: 16 * GIB, fits: true });
  expect(large.text).toMatch(/NVIDIA T4 +fits: needs .* of 16\.0 GiB/);
  expect(large.text).not.toContain('this machine');
  expect((await asOn(1000)).verdict).toMatchObject({ target: 'NVIDIA T4', bytes: 1000, fits: false });
  spy.mockRestore();
});
