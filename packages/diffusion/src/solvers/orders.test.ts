/** Solvers on a mixture of normal distributions, whose velocity is known: measured orders, and the distribution reached. */
import { randomNormal } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import {
  cleanFromOutput,
  cleanFromVelocity,
  type Denoiser,
  ddim,
  dormandPrince,
  dpmSolver2M,
  euler,
  finish,
  flowLevels,
  GaussianDiffusion,
  gaussianLevels,
  heun,
  logSnrTimes,
  StepSizeError,
  uniformTimes,
} from '../index.js';

beforeAll(() => tf.setBackend('cpu'));

const means = [
  [-1, -0.5],
  [1, -0.5],
  [0, 1],
];
const DEVIATION = 0.3;
const POINTS = 512;

const noise = (count = POINTS): tf.Tensor => tf.tensor2d(randomNormal({ seed: 1, purpose: 'orders', index: 0 }, 2 * count), [count, 2]);

/** Expected clean sample and noise given `x = alpha clean + sigma noise`. */
function expectations(x: tf.Tensor, alpha: number, sigma: number): { clean: tf.Tensor; noise: tf.Tensor } {
  const variance = alpha ** 2 * DEVIATION ** 2 + sigma ** 2;
  const centred = means.map((mean) => tf.sub(x, tf.mul(tf.tensor1d(mean), alpha)));
  const weights = tf.softmax(
    tf.stack(
      centred.map((c) => tf.div(tf.sum(tf.square(c), 1), -2 * variance)),
      1,
    ),
  );
  const mixed = (each: (c: tf.Tensor, mean: number[]) => tf.Tensor): tf.Tensor =>
    centred.map((c, k) => tf.mul(each(c, means[k]!), tf.slice(weights, [0, k], [-1, 1]))).reduce((a, b) => tf.add(a, b));
  return {
    clean: mixed((c, mean) => tf.add(tf.tensor1d(mean), tf.mul(c, (alpha * DEVIATION ** 2) / variance))),
    noise: mixed((c) => tf.mul(c, sigma / variance)),
  };
}

const velocity: Denoiser = (x, t) =>
  tf.tidy(() => {
    const time = t.dataSync()[0]!;
    const expected = expectations(x, 1 - time, time);
    return tf.sub(expected.noise, expected.clean);
  });

const solvers = {
  euler: (steps: number) => euler(velocity, noise(), uniformTimes(steps)),
  heun: (steps: number) => heun(velocity, noise(), uniformTimes(steps)),
  'DPM-Solver++(2M)': (steps: number) => dpmSolver2M(cleanFromVelocity(velocity), noise(), flowLevels(uniformTimes(steps))),
};
const difference = (a: tf.Tensor, b: tf.Tensor): number => tf.tidy(() => tf.sqrt(tf.mean(tf.squaredDifference(a, b))).dataSync()[0]!);

describe('on a mixture of normal distributions', () => {
  let exact: tf.Tensor;
  beforeAll(async () => {
    exact = await finish(dormandPrince(velocity, noise(), { relativeTolerance: 1e-6, absoluteTolerance: 1e-6 }));
  });

  const ends = [0.97, 0.03] as const;
  const orders = {
    euler: [1, (steps: number) => euler(velocity, noise(), logSnrTimes(steps, ...ends))],
    heun: [2, (steps: number) => heun(velocity, noise(), logSnrTimes(steps, ...ends))],
    'DPM-Solver++(2M)': [2, (steps: number) => dpmSolver2M(cleanFromVelocity(velocity), noise(), flowLevels(logSnrTimes(steps, ...ends)))],
  } as const;
  test.each(Object.keys(orders) as (keyof typeof orders)[])('%s has its order', async (name) => {
    const [order, run] = orders[name];
    const inside = await finish(heun(velocity, noise(), logSnrTimes(400, ...ends)));
    const [coarse, fine] = [difference(await finish(run(20)), inside), difference(await finish(run(40)), inside)];
    expect(Math.abs(Math.log2(coarse / fine) - order)).toBeLessThan(0.35);
  });

  test('higher orders are closer with 16 evaluations', async () => {
    const [first, second, multistep] = await Promise.all(
      [solvers.euler(16), solvers.heun(8), solvers['DPM-Solver++(2M)'](16)].map(async (run) => difference(await finish(run), exact)),
    );
    expect(second!).toBeLessThan(first!);
    expect(multistep!).toBeLessThan(first! / 2);
  });

  test('Dormand-Prince keeps its tolerance', async () => {
    const loose = difference(await finish(dormandPrince(velocity, noise())), exact);
    const tight = difference(await finish(dormandPrince(velocity, noise(), { relativeTolerance: 1e-5, absoluteTolerance: 1e-5 })), exact);
    expect(loose).toBeLessThan(5e-3);
    expect(tight).toBeLessThan(2e-4);
  });

  test('samples have the mixture’s moments', () => {
    const data = exact.dataSync();
    const column = (c: number) => Array.from({ length: POINTS }, (_, i) => data[2 * i + c]!);
    for (const c of [0, 1]) {
      const values = column(c);
      const mean = values.reduce((a, b) => a + b) / POINTS;
      const spread = values.reduce((a, b) => a + (b - mean) ** 2, 0) / POINTS;
      const [trueMean, trueSquare] = [0, 1].map((power) => means.reduce((a, m) => a + m[c]! ** (power + 1), 0) / means.length);
      // Four standard errors of 512 samples.
      expect(Math.abs(mean - trueMean!)).toBeLessThan(0.15);
      expect(Math.abs(spread - (trueSquare! - trueMean! ** 2 + DEVIATION ** 2))).toBeLessThan(0.15);
    }
  });

  test('DPM-Solver++(2M) serves Gaussian models: few steps lead where many do', async () => {
    const end = async (spacing: string, firstOrder = false) => {
      const diffusion = new GaussianDiffusion({ spacing, varianceType: 'fixed-small' });
      const model: Denoiser = (x, t) =>
        tf.tidy(() => {
          const level = diffusion.timesteps.indexOf(t.dataSync()[0]!);
          const { sqrtAlphasCumprod, sqrtOneMinusAlphasCumprod } = diffusion.tables;
          return expectations(x, sqrtAlphasCumprod[level]!, sqrtOneMinusAlphasCumprod[level]!).noise;
        });
      if (firstOrder) return finish(ddim(diffusion, model, noise()));
      return finish(dpmSolver2M(cleanFromOutput(diffusion, model), noise(), gaussianLevels(diffusion)));
    };
    const many = await end('500');
    const error = async (spacing: string, firstOrder = false) => difference(await end(spacing, firstOrder), many);
    expect(await error('16')).toBeLessThan(await error('16', true));
    expect(await error('50')).toBeLessThan((await error('50', true)) / 2);
  }, 30_000);
});

describe('failures', () => {
  const start = () => tf.zeros([2, 2]);

  test('leave no tensor', async () => {
    const x = start();
    const before = tf.memory().numTensors;
    let calls = 0;
    const failing: Denoiser = (z) => (++calls % 4 === 0 ? tf.fill(z.shape, Number.NaN) : tf.tidy(() => tf.add(z, 1)));
    await expect(finish(dpmSolver2M(failing, x, flowLevels(uniformTimes(8))))).rejects.toThrow(/NaN or infinity in step 4/);
    calls = 0;
    await expect(finish(dormandPrince(failing, x))).rejects.toThrow(/NaN/);
    const growing: Denoiser = (z, t) => tf.tidy(() => tf.mul(tf.add(z, 1), tf.sin(tf.mul(tf.reshape(t, [-1, 1]), 3000))));
    await expect(finish(dormandPrince(growing, x, { maxEvaluations: 100, relativeTolerance: 1e-6 }))).rejects.toThrow(StepSizeError);
    expect(tf.memory().numTensors).toBe(before);
  });

  test('are named', async () => {
    const levels = flowLevels([1, 0.5, 0]);
    await expect(finish(dpmSolver2M(velocity, start(), levels.slice(0, 1)))).rejects.toThrow(/levels/);
    await expect(finish(dpmSolver2M(velocity, start(), levels.reverse()))).rejects.toThrow(/rising/);
    await expect(finish(dormandPrince(velocity, start(), { relativeTolerance: 0 }))).rejects.toThrow(/relativeTolerance/);
  });
});
