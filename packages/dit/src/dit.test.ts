import { compile, ParameterSet } from '@dit-moe/tensor-ops';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import { countWeights, type DitConfig, dit, positionEmbedding, preset, timestepEmbedding, weightSpecs } from './index.js';
import { randomWeights, someInputs, tiny, tinyDense } from './testing/models.js';

test('the presets have the sizes of the paper and the reference', () => {
  // Trainable weights and weights used per token, derived from the reference's modules.
  expect(countWeights(preset('S/2-8E2A'))).toBe(199_209_248);
  const millions = (name: string, active = false) => Math.round(countWeights(preset(name), active) / 1e5) / 10;
  expect([millions('S/2-16E2A'), millions('B/2-8E2A'), millions('B/2-8E2A', true)]).toEqual([369.1, 795.7, 286.1]);
  expect([millions('XL/2-8E2A'), millions('XL/2-8E2A', true), millions('G/2-16E2A')]).toEqual([4167.9, 1492.4, 16503.4]);
  expect(countWeights(preset('XL/2'))).toBe(674_834_720);
  expect(preset('XL/2-8E2A', { flavour: 'paper' }).moe?.balanceAlpha).toBe(0.005);
  expect(() => preset('M/2')).toThrow(/name such as/);
});

test('a configuration that does not fit is refused by the name of the field', () => {
  expect(() => weightSpecs({ ...tiny, inputSize: [9, 4] })).toThrow(/inputSize/);
  expect(() => weightSpecs({ ...tiny, numHeads: 3 })).toThrow(/hiddenSize/);
  expect(() => weightSpecs({ ...tiny, depth: 0 })).toThrow(/depth/);
});

test('positions encode the column first, timesteps cosines first', () => {
  const table = positionEmbedding(8, [2, 3]);
  // Row 1, column 2 is line 5; frequencies 1 and 0.01.
  expect(Array.from(table.subarray(40, 48))).toEqual([
    Math.sin(2),
    Math.sin(0.02),
    Math.cos(2),
    Math.cos(0.02),
    Math.sin(1),
    Math.sin(0.01),
    Math.cos(1),
    Math.cos(0.01),
  ]);
  void tf.setBackend('cpu');
  const embedded = timestepEmbedding(tf.tensor1d([0, 3]), 5).arraySync() as number[][];
  expect(embedded[0]).toEqual([1, 1, 0, 0, 0]);
  expect(embedded[1][0]).toBeCloseTo(Math.cos(3), 6);
  expect(embedded[1][3]).toBeCloseTo(Math.sin(0.03), 6);
});

describe('the model', () => {
  beforeAll(async () => void (await useTensorFlow()));

  test.each([
    ['experts', tiny],
    ['dense', tinyDense],
  ] as [string, DitConfig][])('%s: the runtime agrees with the cpu backend, compiled with eager, and nothing leaks', (_, config) => {
    void tf.setBackend('cpu');
    const [x, t, y] = someInputs();
    const expected = dit(randomWeights(config), config, x, t, y).output;
    expect(expected.shape).toEqual([3, 1, 8, 4]);
    void tf.setBackend('tensorflow');
    const weights = randomWeights(config);
    const copies = [tf.tensor(x.dataSync(), x.shape), tf.tensor(t.dataSync()), tf.tensor(y.dataSync(), y.shape, 'int32')] as const;
    const step = compile((a: tf.Tensor, b: tf.Tensor, c: tf.Tensor) => dit(weights, config, a, b, c).output);
    const before = tf.memory().numTensors;
    const eager = tf.tidy(() => dit(weights, config, ...copies).output);
    const compiled = step.runSync(...copies);
    expect(tf.memory().numTensors).toBe(before + 2);
    const reference = expected.dataSync();
    for (const actual of [eager, compiled]) {
      actual.dataSync().forEach((v, i) => {
        expect(Math.abs(v - reference[i])).toBeLessThan(1e-4);
      });
    }
    step.dispose();
  });

  test('a fresh model with experts predicts zero and reports load and balance', () => {
    void tf.setBackend('tensorflow');
    const weights = ParameterSet.create(weightSpecs(tiny), 3).read();
    const { output, losses, routing } = dit(weights, tiny, ...someInputs());
    expect(Math.max(...output.dataSync())).toBe(0);
    expect(routing.map(({ indices }) => indices.shape)).toEqual([
      [24, 2],
      [24, 2],
    ]);
    for (const { load } of routing) expect(load.sum().dataSync()[0]).toBe(24 * 2);
    expect(losses['balance'].dataSync()[0]).toBeGreaterThan(1.9);
  });

  test('an input of another size is refused', () => {
    const [, t, y] = someInputs();
    expect(() => dit(randomWeights(tiny), tiny, tf.zeros([3, 1, 4, 8]), t, y)).toThrow(/\[B, 1, 8, 4\].*\[3, 1, 4, 8\]/);
  });
});
