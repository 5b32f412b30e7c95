/** The velocity's weight of clean predictions, against PyTorch and against the definition; the other losses are in flow.test.ts. */
import fs from 'node:fs';
import * as tf from '@tensorflow/tfjs';
import { beforeAll, expect, test } from 'vitest';
import { flowLosses, flowPath, objective } from './index.js';
import { velocityWeights } from './predictions.js';

beforeAll(() => tf.setBackend('cpu'));

const like = (x: tf.Tensor, values: number[]) => tf.tensor(values, x.shape);
const close = (found: tf.Tensor, wanted: number[], tolerance = 2e-5) => expect(found).toBeCloseTensor(like(found, wanted), tolerance);

test('clean predictions with the weight of the velocity are those of PyTorch: times, samples, losses, gradient', () => {
  const golden = JSON.parse(fs.readFileSync(new URL('../test/fixtures/clean-prediction.json', import.meta.url), 'utf8'));
  const [clean, noise, output, normal] = ['clean', 'noise', 'output', 'normal'].map((name) =>
    tf.tensor(golden[name] as number[], name === 'normal' ? undefined : golden.shape),
  );
  const { noisy, losses } = objective({
    ...{ kind: 'flow', prediction: 'start', weighting: 'velocity', timeFloor: golden.floor },
    times: { mean: 0.8, deviation: 0.8 },
  });
  const { x, t } = noisy(clean, noise, normal);
  close(t, golden.times);
  close(x, golden.shown);
  close(losses(output, clean, noise, normal).loss, golden.loss);
  close(tf.grad((predicted) => tf.mean(losses(predicted, clean, noise, normal).loss))(output), golden.gradient);
});

test.each(['linear', 'gvp', 'vp'] as const)('%s: the weighted error is that of the velocity which follows', (path) => {
  const times = [0.06, 0.4, 0.9];
  const [clean, noise] = [0, 1].map((seed) => tf.randomNormal([3, 5], 0, 1, 'float32', seed));
  const wrong = tf.add(clean, tf.randomNormal([3, 5], 0, 1, 'float32', 3));
  const { loss } = flowLosses(wrong, clean, noise, tf.tensor1d(times), { path, prediction: 'start', weighting: 'velocity' });
  const factors = times.map((t) => velocityWeights(flowPath(path).level(t))[1] ** 2);
  const squares = tf.mean(tf.squaredDifference(wrong, clean), 1).dataSync();
  close(
    loss,
    factors.map((factor, i) => factor * squares[i]),
    1e-4,
  );
});

test('a weight that a model of the clean sample does not have is refused', () => {
  expect(() => objective({ kind: 'flow', prediction: 'start', weighting: 'likelihood' })).toThrow(/none or velocity/);
  expect(() => objective({ kind: 'flow', prediction: 'start', weighting: 'velocity', timeFloor: 0 })).toThrow(/timeFloor/);
});
