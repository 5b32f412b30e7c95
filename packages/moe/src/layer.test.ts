/** Weights made from specs: by plain tfjs and by our optimizer in a compiled step; saved and loaded. */
import { AdamW, compile, createVariables, mean, ParameterSet, valueAndGrads, type Weights } from '@dit-moe/tensor-ops';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs';
import { beforeAll, expect, test } from 'vitest';
import { fill } from '../../../testing/fill.js';
import { type MoeLayer, moe, moeSpecs, tokenChoice } from './index.js';

beforeAll(async () => void (await useTensorFlow()));

const layerOf = (kind: 'swiglu' | 'gelu'): MoeLayer => ({
  width: 6,
  experts: { kind, count: 4, hidden: 8, biases: true },
  shared: { hidden: 3 },
});
const specs = moeSpecs(layerOf('gelu'));
const loss = (weights: Weights): tf.Scalar => {
  const { output, losses } = moe(fill([16, 6], 1), weights, { selector: tokenChoice(2) });
  return tf.add(mean(tf.square(tf.sub(output, 1))), losses.balance);
};
const values = (weights: Weights) => Object.values(weights).map((weight) => Array.from(weight.dataSync()));

test.each(['swiglu', 'gelu'] as const)('weights of %s experts repeat by seed, and all of them learn by plain tfjs', async (kind) => {
  await tf.setBackend('cpu');
  const before = tf.memory().numTensors;
  const [weights, again, other] = [0, 0, 1].map((seed) => createVariables(moeSpecs(layerOf(kind)), seed));
  expect(values(weights)).toEqual(values(again));
  expect(values(weights)).not.toEqual(values(other));
  for (const [name, { initial }] of Object.entries(moeSpecs(layerOf(kind)))) {
    const row = Array.from(weights[name].dataSync());
    expect(Math.max(...row.map(Math.abs))).toBeLessThanOrEqual(initial.kind === 'uniform' ? initial.limit : 0);
    expect(Math.abs(row.reduce((a, b) => a + b) / row.length)).toBeLessThan(0.2);
  }
  const start = values(weights);
  const optimizer = tf.train.sgd(0.1);
  optimizer.minimize(() => loss(weights), false, Object.values(weights));
  values(weights).forEach((row, i) => {
    expect(row).not.toEqual(start[i]);
  });
  optimizer.dispose();
  tf.dispose([weights, again, other]);
  expect(tf.memory().numTensors).toBeLessThanOrEqual(before + 1);
});

test.each(['cpu', 'tensorflow'])(
  'a compiled step with our optimizer trains a set of them, which is saved and loaded, on %s',
  async (backend) => {
    await tf.setBackend(backend);
    const set = ParameterSet.create(specs, 0);
    const optimizer = new AdamW(set.parameters);
    const step = compile(() => {
      const weights = set.read();
      const { value, grads } = valueAndGrads(() => ({ loss: loss(weights) }), weights);
      optimizer.apply(grads, 0.01);
      return value;
    });
    const losses: number[] = [];
    for (let i = 0; i < 20; i++) {
      const value = await step.run();
      losses.push(value.dataSync()[0]);
      value.dispose();
    }
    expect(losses.at(-1)!).toBeLessThan(0.9 * losses[0]);
    const { tensors } = await set.snapshot();
    const saved = await Promise.all(
      tensors.map(async ({ name, shape, data }) => [name, { shape, data: (await data()) as Float32Array }] as const),
    );
    const loaded = await ParameterSet.declare(specs).load(saved);
    const [before, after] = [set, loaded].map((one) => tf.tidy(() => loss(one.read()).dataSync()));
    expect(after).toEqual(before);
    step.dispose();
    for (const one of [set, loaded, optimizer]) one.dispose();
  },
);
