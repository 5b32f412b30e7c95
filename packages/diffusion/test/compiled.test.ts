/** On the TensorFlow runtime a sampling run is compiled steps, the model's and the loop's, and gives the same numbers. */
import { compile } from '@dit-moe/tensor-ops';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, expect, test } from 'vitest';
import {
  dpmSolverSteps,
  finish,
  flowModel,
  flowPath,
  heunSteps,
  levels,
  type NoiseLevel,
  type SolverName,
  sample,
  sdeSteps,
  uniPcSteps,
} from '../src/index.js';
import { difference, normalPoints, runFloat64 } from './mixture.js';

beforeAll(() => useTensorFlow());

/** Of data with this deviation the expected clean sample is linear in x. */
const DEVIATION = 0.3;
const share = (alpha: number, sigma: number) => (alpha * DEVIATION ** 2) / (alpha ** 2 * DEVIATION ** 2 + sigma ** 2);

const cases: [SolverName, (at: NoiseLevel[]) => ReturnType<typeof heunSteps>][] = [
  ['heun', heunSteps],
  ['unipc3', (at) => uniPcSteps(at, { order: 3 })],
  ['dpm++3m-sde', (at) => dpmSolverSteps(at, { order: 3, eta: 1 })],
  ['sde-heun', (at) => sdeSteps(at, { heun: true })],
];
test.each(cases)('%s: one recording of the model, the numbers of float64, no tensor left', async (solver, plan) => {
  const velocity = compile((x: tf.Tensor, t: tf.Tensor) => {
    const sigma = tf.reshape(t, [-1, 1]);
    const alpha = tf.sub(1, sigma);
    const variance = tf.add(tf.mul(tf.square(alpha), DEVIATION ** 2), tf.square(sigma));
    return tf.div(tf.mul(x, tf.sub(1, tf.div(tf.mul(alpha, DEVIATION ** 2), variance))), sigma);
  });
  const model = flowModel((x, t) => velocity.run(x, t));
  const points = (seed: number) => tf.tensor2d(Float32Array.from(normalPoints(64, seed)), [64, 2]);
  const start = points(1);
  const before = tf.memory().numTensors;
  const at = levels(flowPath('linear'), { steps: 12, grid: 'exponential' });
  const end = await finish(sample(model, start, { solver, grid: at.map(({ t }) => t), noise: (step) => points(step + 2) }));
  const expected = runFloat64(
    plan(at),
    Float64Array.from(await start.data()),
    (x, { alpha, sigma }) => x.map((value) => share(alpha, sigma) * value),
    (step) => Float64Array.from(Float32Array.from(normalPoints(64, step + 2))),
  );
  expect(difference(await end.data(), expected)).toBeLessThan(1e-5);
  end.dispose();
  expect(velocity.traces).toBe(1);
  expect(tf.memory().numTensors).toBe(before);
  velocity.dispose();
});
