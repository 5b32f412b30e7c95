import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import { classifierFreeGuidance, euler, finish, flowInterpolate, flowLoss, heun, NotFiniteError, uniformTimes } from './index.js';

beforeAll(() => tf.setBackend('cpu'));

describe('rectified flow', () => {
  test('a perfect model has no loss and leads back to the data', async () => {
    const x = tf.tensor2d([1, 2, 3, 4], [2, 2]);
    const noise = tf.tensor2d([0.5, -1, 0, 2], [2, 2]);
    const t = tf.tensor1d([0.25, 1]);
    expect(await flowInterpolate(x, noise, t).array()).toEqual([
      [0.875, 1.25],
      [0, 2],
    ]);
    expect(await flowLoss(tf.sub(noise, x), x, noise).array()).toEqual([0, 0]);
    expect(await flowLoss(tf.zerosLike(x), x, noise).array()).toEqual([(0.25 + 9) / 2, (9 + 4) / 2]);
    const back = await finish(euler(() => tf.sub(noise, x), noise, uniformTimes(7)));
    for (const [i, value] of (await back.data()).entries()) expect(value).toBeCloseTo(x.dataSync()[i]!, 5);
  });

  test('Euler has order one, Heun order two', async () => {
    // dx/dt = x (1 + t) from t = 1 to 0.1, whose solution is exact; time 0 is avoided because Heun ends there with an Euler step.
    const error = async (method: typeof euler, steps: number) => {
      const times = Array.from({ length: steps + 1 }, (_, i) => 1 - (0.9 * i) / steps);
      const end = await finish(method((x, t) => tf.tidy(() => tf.mul(x, tf.add(1, tf.reshape(t, [-1, 1])))), tf.ones([1, 1]), times));
      return Math.abs((await end.data())[0]! - Math.exp(0.1 + 0.005 - 1.5));
    };
    expect((await error(euler, 8)) / (await error(euler, 16))).toBeGreaterThan(1.8);
    expect((await error(euler, 8)) / (await error(euler, 16))).toBeLessThan(2.2);
    expect((await error(heun, 8)) / (await error(heun, 16))).toBeGreaterThan(3.5);
    expect((await error(heun, 8)) / (await error(heun, 16))).toBeLessThan(4.5);
  });

  test('no tensor stays behind, whether a run ends, stops or fails', async () => {
    const x = tf.ones([2, 3]);
    const before = tf.memory().numTensors;
    (await finish(heun((z) => z.clone(), x, uniformTimes(4)))).dispose();
    for await (const state of euler((z) => z.clone(), x, uniformTimes(4))) if (state.step === 2) break;
    const nan = euler((z, t) => tf.tidy(() => (t.dataSync()[0]! < 0.6 ? tf.mul(z, Number.NaN) : z.clone())), x, uniformTimes(4));
    await expect(finish(nan)).rejects.toThrow(NotFiniteError);
    await expect(finish(euler((z) => z.clone(), x, uniformTimes(4), { signal: AbortSignal.abort() }))).rejects.toThrow(/abort/i);
    expect(tf.memory().numTensors).toBe(before);
  });

  test.each([[[1]], [[0, 1]], [[1, 1]], [[1, Number.NaN]]])('the times %s are refused', async (times) => {
    await expect(finish(euler((z) => z.clone(), tf.ones([1]), times))).rejects.toThrow(/falling/);
  });
});

describe('classifier-free guidance', () => {
  // Predicts the label itself in every element.
  const model = (x: tf.Tensor, _t: tf.Tensor, y: tf.Tensor) =>
    tf.tidy(() => tf.add(tf.zerosLike(x), tf.reshape(tf.cast(y, 'float32'), [-1, 1])));
  const labels = () => tf.tensor1d([1, 2], 'int32');
  const t = tf.tensor1d([0.5, 0.5]);

  test('extrapolates from the null label', async () => {
    const guided = classifierFreeGuidance(model, { labels: labels(), nullLabel: 10, scale: 3 });
    expect(await (await guided(tf.zeros([2, 2]), t)).array()).toEqual([
      [10 + 3 * (1 - 10), 10 + 3 * (1 - 10)],
      [10 + 3 * (2 - 10), 10 + 3 * (2 - 10)],
    ]);
  });

  test('guides only the channels asked for, and only inside its interval', async () => {
    let rows = 0;
    const counting: typeof model = (x, time, y) => {
      rows = x.shape[0]!;
      return model(x, time, y);
    };
    const some = classifierFreeGuidance(counting, { labels: labels(), nullLabel: 10, scale: 3, channels: 1 });
    expect(await (await some(tf.zeros([2, 2]), t)).array()).toEqual([
      [-17, 1],
      [-14, 2],
    ]);
    expect(rows).toBe(4);
    const limited = classifierFreeGuidance(counting, { labels: labels(), nullLabel: 10, scale: 3, interval: [0.6, 1] });
    expect(await (await limited(tf.zeros([2, 2]), t)).array()).toEqual([
      [1, 1],
      [2, 2],
    ]);
    expect(rows).toBe(2);
  });
});
