/**
 * Every router of the configuration through a whole life: trained 30 steps, stopped in the middle and resumed to the same bytes, sampled by
 * the TensorFlow runtime and by WebAssembly, alone and in a batch, written and opened again.
 */
import '@tensorflow/tfjs-backend-wasm';
import fs from 'node:fs';
import path from 'node:path';
import { isRouterState } from '@dit-moe/dit';
import { openModel, writeModel } from '@dit-moe/dit/node';
import { openPipeline } from '@dit-moe/pipeline/node';
import { type TensorFlowRuntime, useTensorFlow } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { checkpointBytes, makeRoot, metricsLines, runTiny, tinyConfig } from '../testing/tiny-run.js';

const { root, images, newRun } = makeRoot();
let runtime: TensorFlowRuntime;
beforeAll(async () => {
  runtime = await useTensorFlow();
});
afterAll(async () => {
  await runtime.shutdown();
  fs.rmSync(root, { recursive: true });
});

const moe = 'model.moe={numExperts: 4, topK: 2, expertRatio: 1, sharedRatio: 1';
test.each([
  ['token', `${moe}, losses: {z: 0.001, importance: 0.01, similarity: 0.01}}`],
  ['token, unmodulated', `${moe}, routerInput: unmodulated}`],
  ['token, time', `${moe}, routerInput: time}`],
  ['token, null expert', `${moe}, nullExpert: true}`],
  ['token, load bias', `${moe}, scoreFunction: sigmoid, normalizeTopK: true, weightScale: 2.5, loadBias: 0.01, balanceAlpha: 0}`],
  ['expert-choice', `${moe}, router: expert-choice, scoreFunction: sigmoid, balanceAlpha: 0}`],
  ['expert-choice, unmodulated+time', `${moe}, router: expert-choice, routerInput: unmodulated+time, normalizeTopK: true}`],
  ['prototypes', `${moe}, router: prototypes, nullExpert: true, losses: {contrastive: 0.1}}`],
  ['timestep', `${moe}, router: timestep, topK: 1}`.replace('topK: 2, ', '')],
])('%s: trains, resumes bit for bit, samples alike on two backends and in any batch, is written and opened', async (_, router) => {
  await tf.setBackend('tensorflow');
  const config = (steps: number) =>
    tinyConfig(images, router, `steps=${steps}`, 'checkpoints.every=15', 'optimizer.learningRate=0.01', 'labelDropout=0.3');
  const [whole, parts] = [newRun(), newRun()];
  await runTiny(config(30), whole);
  await runTiny(config(15), parts);
  await runTiny(config(30), parts, { resume: true });
  for (const file of ['weights', 'ema', 'optimizer', 'telemetry'])
    expect(checkpointBytes(parts, 30, file).equals(checkpointBytes(whole, 30, file)), file).toBe(true);

  const file = await openModel(whole);
  const biases: number[] = [];
  for await (const [name, { data }] of file.weights()) if (isRouterState(name)) biases.push(...data);
  expect(biases.length).toBe(config(30).model.moe?.loadBias === undefined ? 0 : 4);
  if (biases.length > 0) {
    expect(Math.max(...biases)).toBeGreaterThan(0.005);
    expect(biases.reduce((a, b) => a + b)).toBeCloseTo(0, 6);
  }

  const lines = metricsLines(whole);
  const meanOf = (part: { loss: number }[]) => part.reduce((sum, { loss }) => sum + loss, 0) / part.length;
  expect(meanOf(lines.slice(-5))).toBeLessThan(meanOf(lines.slice(0, 5)));
  const { losses = {} } = config(30).model.moe ?? {};
  for (const line of lines) expect(Object.keys(line.routerLosses ?? {})).toEqual(Object.keys(losses));

  const sample = async (location: string, batch: number) => {
    const pipeline = await openPipeline(location);
    const { data } = await pipeline.sample({ labels: [0, 1, 1], seed: 3, steps: 4, batch });
    pipeline.dispose();
    return Array.from(data);
  };
  const together = await sample(whole, 3);
  // Eight bits; products of other sizes may round a value to the neighbouring one.
  const expectAlike = (data: number[]) => {
    expect(data.length).toBe(together.length);
    data.forEach((value, i) => void expect(Math.abs(value - together[i])).toBeLessThanOrEqual(1));
  };
  expectAlike(await sample(whole, 1));
  const copy = path.join(root, 'copy.safetensors');
  await writeModel(copy, file, { card: file.card! });
  await file.close();
  expect(await sample(copy, 3)).toEqual(together);
  await tf.setBackend('wasm');
  expectAlike(await sample(whole, 3));
  await tf.setBackend('tensorflow');
});
