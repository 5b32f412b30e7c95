import fs from 'node:fs';
import { startBackend } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeRoot, tinyConfig } from '../testing/tiny-run.js';
import { dryRun, formatDryRun } from './dry-run.js';

const { root, images } = makeRoot();
beforeAll(async () => void (await startBackend('tensorflow')));
afterAll(() => fs.rmSync(root, { recursive: true }));

test('a dry run counts what is known, and times steps of the model, or of one block of a large one', async () => {
  const tensors = tf.memory().numTensors;
  const small = tinyConfig(images, 'steps=30', 'accumulation=2', 'checkpoints={every: 10, keep: 2, milestoneEvery: 10}');
  const phases: string[] = [];
  const plan = await dryRun(small, (text) => phases.push(text));
  expect(plan).toMatchObject({
    data: { images: 6, classes: 2, assumed: false },
    microBatch: 2,
    stepsPerEpoch: 1.5,
    epochs: 20,
    step: { measured: 'model' },
  });
  // Weights, one average and two moments, in float32; two newest and three milestones.
  expect(plan.checkpoint).toEqual({ one: 16 * plan.parameters.total, kept: 5 * 16 * plan.parameters.total });
  expect(plan.seconds.here).toBeCloseTo(30 * plan.step.seconds, 9);
  const large = await dryRun(
    tinyConfig(images, 'model={patchSize: 2, hiddenSize: 192, depth: 12, numHeads: 6, moe: {numExperts: 8, topK: 2}}'),
  );
  expect(large.parameters.total).toBeGreaterThan(10_000_000);
  expect(large.step).toMatchObject({ measured: 'block' });
  expect(large.step.seconds).toBeGreaterThan(plan.step.seconds);
  expect(formatDryRun(small, plan)).toMatch(/from timed steps of the model/);
  expect(formatDryRun(small, plan)).toMatch(/this machine +fits: needs/);
  expect(phases).toEqual(['reading the data', 'planning a step', 'timing a few steps']);
  expect(tf.memory().numTensors).toBe(tensors);
});

test('without TensorFlow an estimate says whether it fits this machine', async () => {
  await startBackend('wasm');
  const config = tinyConfig(images);
  const plan = await dryRun(config);
  expect(plan).toMatchObject({ planned: false, verdicts: [{ target: 'this machine', fits: true, estimated: true }] });
  const text = formatDryRun(config, { ...plan, verdicts: [{ ...plan.verdicts[0], fits: false }] });
  expect(text).toMatch(/estimated/);
  expect(text).toMatch(/this machine +does not fit: .*accumulation need less/);
});
