import fs from 'node:fs';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs-core';
import { expect, test } from 'vitest';
import { numbers } from '../../../testing/fill.js';
import { type DitConfig, dit, weightSpecs } from './index.js';

const golden = JSON.parse(fs.readFileSync(new URL('../test/fixtures/jit.json', import.meta.url), 'utf8'));

const config: DitConfig = {
  ...{ inputSize: [8, 8], patchSize: 4, inChannels: 1, hiddenSize: 16, depth: 3, numHeads: 2, numClasses: 3, learnSigma: false },
  ...{ patchBottleneck: 5, classTokens: { count: 3, from: 1 } },
  ...{ norm: 'rms', qkNorm: true, rotary: true, mlp: 'swiglu-bias', mlpRatio: 1.5 },
};

test('the parts of JiT compute what PyTorch does', async () => {
  await useTensorFlow();
  const specs = weightSpecs(config);
  expect(Object.keys(specs).sort()).toEqual([...golden.weights].sort());
  const weights = Object.fromEntries(
    (golden.weights as string[]).map((name, salt) => {
      const { shape, initial } = specs[name];
      return [
        name,
        tf.tensor(
          numbers(shape, salt).map((v) => 0.3 * v + (initial.kind === 'ones' ? 1 : 0)),
          shape,
        ),
      ];
    }),
  );
  const [t, y] = [tf.tensor1d(golden.t, 'float32'), tf.tensor1d(golden.y, 'int32')];
  const { output, hidden } = dit(weights, config, tf.tensor(numbers([2, 1, 8, 8], -1), [2, 1, 8, 8]), t, y);
  // Ours is float32, theirs float64: a few roundings of numbers up to 5.
  output.dataSync().forEach((v, i) => void expect(Math.abs(v - golden.output[i])).toBeLessThan(1e-5));
  expect(hidden.map(({ shape }) => shape)).toEqual([1, 2, 3].map(() => [2, 4, 16]));
});

test('class tokens are for dense models with classes, from one of the blocks on', () => {
  const refused = (change: Partial<DitConfig>): void => void weightSpecs({ ...config, ...change });
  expect(() => refused({ classTokens: { count: 0, from: 1 } })).toThrow('classTokens.count: expected an integer of at least 1');
  expect(() => refused({ classTokens: { count: 1, from: 3 } })).toThrow('classTokens.from: expected the number of a block below 3');
  expect(() => refused({ numClasses: 0 })).toThrow('classTokens: expected a model with classes');
  const moe = { numExperts: 2, topK: 1, expertRatio: 1, sharedRatio: 0, balanceAlpha: 0 };
  expect(() => refused({ moe })).toThrow('classTokens: expected a dense model');
});
