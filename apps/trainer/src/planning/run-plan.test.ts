import { describeModel } from '@dit-moe/dit';
import { type TensorFlowRuntime, useTensorFlow } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { modelConfig, resolveConfig } from '../config/resolve.js';
import { tinyOverrides } from '../testing/tiny-run.js';
import { plannedData } from './data-shape.js';
import { planRun } from './run-plan.js';
import { verdictsOf } from './verdicts.js';

let runtime: TensorFlowRuntime;
beforeAll(async () => {
  runtime = await useTensorFlow();
});
afterAll(() => runtime.shutdown());

const tiny = (...overrides: string[]) => {
  const config = resolveConfig({ data: 'none', overrides: [...tinyOverrides, ...overrides] });
  return [config, modelConfig(config, { channels: 1, height: 16, width: 16, classNames: ['a', 'b'] })] as const;
};

test('state is counted exactly; accumulation adds sums and divides what lives within a step', () => {
  const [tensors, handles] = [tf.memory().numTensors, runtime.numTensors()];
  const whole = planRun(...tiny('batchSize=32', 'ema=[0.5, 0.9]'));
  const weights = 4 * describeModel(tiny()[1]).parameters.total;
  expect(whole.memory).toMatchObject({ weights, moments: 2 * weights + 4, averages: 2 * weights });
  const { total, ...parts } = whole.memory;
  expect(total).toBe(Object.values(parts).reduce((a, b) => a + b));
  const split = planRun(...tiny('batchSize=32', 'accumulation=8', 'ema=[0.5, 0.9]'));
  expect(split.memory.sums - whole.memory.sums).toBe(weights);
  expect(split.memory.working).toBeLessThan(whole.memory.working / 2);
  // The same products, but the router's and timestep's per micro-batch.
  expect(split.flops / whole.flops).toBeCloseTo(1, 1);
  expect([tf.memory().numTensors, runtime.numTensors()]).toEqual([tensors, handles]);
});

test('work is that of forward and backward pass', () => {
  const [config, model] = tiny('batchSize=8');
  // Two operations per multiply-accumulate, backward is twice forward.
  const expected = 6e9 * describeModel(model).gmac.total * 8;
  expect(planRun(config, model).flops / expected).toBeGreaterThan(0.9);
  expect(planRun(config, model).flops / expected).toBeLessThan(1.1);
});

test('verdicts name the settings that make a run fit, and say when none does', () => {
  const [config, model] = tiny('model={depth: 4}', 'batchSize=64');
  const needs = (...overrides: string[]) => {
    const { memory } = planRun(...tiny('model={depth: 4}', 'batchSize=64', ...overrides));
    return memory.total + 0.2 * memory.working;
  };
  const target = (bytes: number) => ({ name: 'a device', bytes });
  const [own, recomputed, halved] = [needs(), needs('recompute=true'), needs('recompute=true', 'accumulation=2')];
  expect(recomputed).toBeLessThan(own);
  expect(halved).toBeLessThan(recomputed);
  const [all, first, second, none] = verdictsOf(config, model, [own, recomputed, halved, 1000].map(target));
  expect(all).toEqual({ target: 'a device', needs: own, bytes: own, fits: true });
  expect(first).toMatchObject({ fits: false, settings: ['recompute=true'] });
  expect(second).toMatchObject({ fits: false, settings: ['recompute=true', 'accumulation=2'] });
  expect(none).not.toHaveProperty('settings');
});

test('the largest published model is planned in a process of a few hundred MiB', async () => {
  const config = resolveConfig({ preset: 'repo-g-2-16e2a-256', overrides: [] });
  const before = process.memoryUsage().rss;
  const plan = planRun(config, modelConfig(config, await plannedData(config)));
  expect(process.memoryUsage().rss - before).toBeLessThan(1.5 * 2 ** 30);
  expect(plan.memory.weights / 4e9).toBeCloseTo(16.5, 1);
  expect(plan.memory.total).toBeGreaterThan(5 * plan.memory.weights);
});

test('what processes share out divides what each holds, and what it sends is counted', () => {
  const overrides = ['model.moe.numExperts=4', 'batchSize=32', 'accumulation=2'];
  const planned = (processes: number, ...more: string[]) => planRun(...tiny(...overrides, ...more), { processes });
  const [one, dp] = [planned(1), planned(4)];
  const { weights, moments, averages } = one.memory;
  expect(one.sent).toEqual({});
  expect(dp.memory).toMatchObject({ weights, moments, averages, shards: 0 });
  const padding = 4 * 4;
  const near = (found: number, expected: number) => expect(Math.abs(found - expected)).toBeLessThanOrEqual(padding);
  const zero = [1, 2].map((zero) => planned(4, `parallel.zero=${zero}`));
  for (const { memory } of zero) {
    expect(memory.weights).toBe(weights);
    near(memory.moments, moments / 4);
    near(memory.averages, averages / 4);
    near(memory.shards, weights / 4);
  }
  near(zero[0].memory.sums - zero[1].memory.sums, (3 / 4) * weights);
  // A ring sends all but its own part, once for a reduction that leaves every rank its part, twice where all get the whole; micro-batches
  // are added up first but for zero 2.
  const [scattered, twice] = zero.map(({ sent }) => sent['reduce-scatter']!);
  near(scattered, (3 / 4) * weights);
  near(twice, 2 * (3 / 4) * weights);
  near(zero[0].sent['all-gather']!, (3 / 4) * weights);

  const experts = planned(4, 'parallel.experts=4');
  const ofExperts = 4 * 4 * (2 * 8 * 8 + 8 * 8);
  expect(experts.memory.weights).toBe(weights - (3 / 4) * ofExperts);
  expect(experts.memory.moments).toBe(moments - (3 / 4) * 2 * ofExperts);
  // Two exchanges forward and two back, of every micro-batch: rows of 8 channels, as many as there is room for.
  const tokens = (32 / 2 / 4) * 64;
  const rows = 4 * Math.ceil(((tokens * 2) / 4) * Math.SQRT2);
  expect(experts.sent['all-to-all']).toBe(2 * 4 * (3 / 4) * 4 * rows * 8);
});
