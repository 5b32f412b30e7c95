import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import {
  finish,
  flowLosses,
  flowModel,
  flowNoisy,
  flowPath,
  NotFiniteError,
  type PathName,
  predictionWeights,
  sample,
  sampleTimes,
  shiftTimes,
} from './index.js';
import { pathLevels } from './paths.js';

beforeAll(() => tf.setBackend('cpu'));

const clean = () => tf.tensor2d([1, 2, 3, 4], [2, 2]);
const noise = () => tf.tensor2d([0.5, -1, 0, 2], [2, 2]);
const list = (x: tf.Tensor) => [...x.dataSync()];

describe('paths', () => {
  test.each(['linear', 'gvp', 'vp'] as const)(
    '%s: levels on host and device agree, derivatives are those of finite differences',
    (name) => {
      const path = flowPath(name);
      const [t, h] = [0.3, 1e-6];
      const level = path.level(t);
      const onDevice = pathLevels(name, tf.scalar(t));
      for (const key of ['alpha', 'sigma', 'dAlpha', 'dSigma'] as const) expect(list(onDevice[key])[0]).toBeCloseTo(level[key], 5);
      for (const [rate, key] of [
        ['dAlpha', 'alpha'],
        ['dSigma', 'sigma'],
      ] as const)
        expect((path.level(t + h)[key] - path.level(t - h)[key]) / (2 * h)).toBeCloseTo(level[rate], 6);
      expect(path.placeOf(Math.log(level.alpha / level.sigma))).toBeCloseTo(t, 10);
      expect(path.level(0)).toMatchObject({ alpha: 1, sigma: 0 });
      expect(path.level(1).sigma).toBeGreaterThan(0.9999);
    },
  );

  test('times outside the path are refused', () => {
    for (const t of [-0.1, 1.1, Number.NaN]) expect(() => flowPath('linear').level(t)).toThrow(/\[0, 1\]/);
    expect(() => flowPath('straight' as PathName)).toThrow(/linear, gvp, vp/);
  });
});

describe('losses', () => {
  const t = () => tf.tensor1d([0.25, 0.75]);
  const cases = (['linear', 'gvp', 'vp'] as const).flatMap((path) =>
    (['velocity', 'noise', 'score', 'start'] as const).map((prediction) => [path, prediction] as const),
  );

  test.each(cases)('%s path, %s: the perfect prediction has none, and it leads back to the data', async (path, prediction) => {
    const levels = [0.25, 0.75].map((time) => flowPath(path).level(time));
    const weights = levels.map((level) => predictionWeights(prediction, level));
    const column = (k: 0 | 1) => tf.tensor2d(weights.map((pair) => [pair[k]]));
    const perfect = tf.add(tf.mul(column(0), clean()), tf.mul(column(1), noise()));
    for (const weighting of prediction === 'start' ? (['none', 'velocity'] as const) : (['none', 'velocity', 'likelihood'] as const))
      expect(Math.max(...list(flowLosses(perfect, clean(), noise(), t(), { path, prediction, weighting }).loss))).toBeLessThan(1e-10);
    expect(Math.min(...list(flowLosses(tf.add(perfect, 1), clean(), noise(), t(), { path, prediction }).loss))).toBeGreaterThan(0.01);
    // The exact model of data that is always `clean`: the path is straight in clean sample and noise, so every solver ends there.
    const model = flowModel(
      (x, _t, level) =>
        tf.tidy(() => {
          const [p, q] = predictionWeights(prediction, level);
          const implied = tf.div(tf.sub(x, tf.mul(level.alpha, clean())), level.sigma);
          return tf.add(tf.mul(clean(), p), tf.mul(implied, q));
        }),
      { path, prediction },
    );
    for (const solver of ['ddim', 'dpm++2m', 'unipc'] as const) {
      const end = list(await finish(sample(model, noise(), { solver, steps: 6 })));
      for (const [i, x] of end.entries()) expect(x).toBeCloseTo(list(clean())[i], 2);
    }
  });

  test('noisy samples lie between data and noise', () => {
    expect(list(flowNoisy(clean(), noise(), tf.tensor1d([0.25, 1])))).toEqual([0.875, 1.25, 0, 2]);
  });

  test('cosine and contrast are the terms of their papers', () => {
    const [target, zero] = [tf.sub(noise(), clean()), tf.zerosLike(clean())];
    const opposite = flowLosses(tf.neg(target), clean(), noise(), t(), { cosine: 0.5 });
    expect(list(opposite.cosine!)).toEqual([2, 2]);
    for (const [i, loss] of list(opposite.loss).entries()) expect(loss).toBeCloseTo(list(opposite.mse)[i] + 1, 5);
    const contrasted = flowLosses(zero, clean(), noise(), t(), { contrast: 0.05 });
    const squares = [(0.25 + 9) / 2, (9 + 4) / 2];
    for (const [i, loss] of list(contrasted.loss).entries()) expect(loss).toBeCloseTo(squares[i] - 0.05 * squares[1 - i], 5);
    expect(() => flowLosses(zero, clean(), noise(), t(), { cosine: 1, prediction: 'noise' })).toThrow(/velocity/);
  });

  test('mismatched shapes are refused by name', () => {
    expect(() => flowNoisy(clean(), tf.zeros([2, 3]), t())).toThrow(/flowNoisy: noise/);
    expect(() => flowLosses(tf.zeros([2, 3]), clean(), noise(), t())).toThrow(/\[2,2\] or \[2,4\]/);
    expect(() => flowLosses(clean(), clean(), noise(), tf.zeros([3]))).toThrow(/t \[2\]/);
    expect(() => flowNoisy(clean(), noise(), tf.tensor1d([0.5, 1.5]))).toThrow(/times in \[0, 1\], found 1.5/);
  });
});

describe('times', () => {
  test('strata cover the distribution, each with one time', () => {
    const uniform = tf.fill([100], 0.5);
    const spread = list(sampleTimes(uniform, { distribution: 'uniform', stratified: true }));
    for (const [i, time] of spread.entries()) expect(time).toBeCloseTo((i + 0.5) / 100, 5);
    const logit = list(sampleTimes(uniform, { stratified: true }));
    // The quartile of the standard normal distribution is 0.6745.
    expect((logit[74] + logit[75]) / 2).toBeCloseTo(1 / (1 + Math.exp(-0.6745)), 3);
  });

  test('shifts favour noise, and mean and deviation move the logit', () => {
    expect(list(shiftTimes(tf.tensor1d([0, 0.5, 1]), 3))).toEqual([0, 0.75, 1]);
    expect(list(sampleTimes(tf.tensor1d([0]), { mean: Math.log(3) }))[0]).toBeCloseTo(0.75, 6);
    expect(list(sampleTimes(tf.tensor1d([1]), { deviation: Math.log(3) }))[0]).toBeCloseTo(0.75, 6);
  });
});

test('no tensor stays behind, whether a run ends, stops or fails', async () => {
  const x = tf.ones([2, 3]);
  const before = tf.memory().numTensors;
  const same = flowModel((z) => z.clone());
  for (const solver of ['euler', 'heun', 'dpm++3m', 'unipc3', 'dopri5', 'ddim'] as const) {
    (await finish(sample(same, x, { solver, steps: 5 }))).dispose();
    for await (const state of sample(same, x, { solver, steps: 5 })) if (state.step === 2) break;
    const nan = flowModel((z, _t, { t }) => tf.tidy(() => tf.mul(z, t < 0.6 ? Number.NaN : 1)));
    await expect(finish(sample(nan, x, { solver, steps: 5 }))).rejects.toThrow(NotFiniteError);
    await expect(finish(sample(same, x, { solver, steps: 5, signal: AbortSignal.abort() }))).rejects.toThrow(/abort/i);
  }
  expect(tf.memory().numTensors).toBe(before);
});
