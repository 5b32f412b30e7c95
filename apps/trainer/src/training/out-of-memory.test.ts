/** A device without memory, stood in for by a step that fails as TensorFlow does. */
import fs from 'node:fs';
import { exitCodes } from '@dit-moe/kit';
import { TensorFlowError, type TensorFlowRuntime, useTensorFlow } from '@dit-moe/tensor-ops/node';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { exitCodeTable } from '../errors.js';
import { makeRoot, runTiny, tinyConfig } from '../testing/tiny-run.js';
import { TrainingState } from './state.js';

const RESOURCE_EXHAUSTED = 8;
const { root, images, newRun } = makeRoot();
let runtime: TensorFlowRuntime;
beforeAll(async () => {
  runtime = await useTensorFlow();
});
afterAll(async () => {
  await runtime.shutdown();
  fs.rmSync(root, { recursive: true });
});

/** Fails in step `at` with TensorFlow's status `code`. */
function failAt(at: number, code: number) {
  const step = TrainingState.prototype.step;
  let steps = 0;
  return vi.spyOn(TrainingState.prototype, 'step').mockImplementation(function (this: TrainingState, ...given) {
    if (++steps === at) throw new TensorFlowError('gradients', code, 'OOM when allocating tensor with shape[4,4]');
    return step.apply(this, given);
  });
}

test.each([
  [4, /checkpoints\/step-00000002 is saved/],
  [1, /Nothing of this run is saved yet/],
])('no memory for step %i: the error names the step, the plan, settings that need less, and what is saved', async (at, saved) => {
  const spy = failAt(at, RESOURCE_EXHAUSTED);
  const config = tinyConfig(images, 'steps=6', 'batchSize=8', 'accumulation=1', 'model.depth=3');
  const out = newRun();
  await expect(runTiny(config, out)).rejects.toMatchObject({
    code: 'E_OUT_OF_MEMORY',
    where: `step ${at}`,
    message: expect.stringMatching(saved),
    hint: expect.stringMatching(/--set .*(recompute=true|accumulation=\d)[\s\S]*cuda_malloc_async/),
  });
  spy.mockRestore();
  expect(exitCodeTable['E_OUT_OF_MEMORY']).toBe(exitCodes.backend);
  if (at > 1) expect((await runTiny(config, out, { resume: true })).step).toBe(6);
});

test('other errors of TensorFlow stay what they are', async () => {
  const spy = failAt(2, 3);
  await expect(runTiny(tinyConfig(images), newRun())).rejects.toMatchObject({ code: 'E_TENSORFLOW', status: 'INVALID_ARGUMENT' });
  spy.mockRestore();
});
