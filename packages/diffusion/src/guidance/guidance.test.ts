import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import {
  adaptiveProjection,
  autoguidance,
  cfgZeroStar,
  classifierFreeGuidance,
  extrapolate,
  finish,
  flowModel,
  flowPath,
  type GuidanceRule,
  rescaled,
  sample,
} from '../index.js';
import { cleanWeights, velocityWeights } from '../predictions.js';

beforeAll(() => tf.setBackend('cpu'));

const level = flowPath('linear').level(0.5);
const wave = (seed: number) =>
  tf.tensor2d(
    Float32Array.from({ length: 12 }, (_, i) => Math.sin(seed * 3.7 + i * 1.9)),
    [2, 6],
  );
const list = (x: tf.Tensor) => [...x.dataSync()];
describe('classifier-free guidance', () => {
  /** Predicts the label itself in every element, in as many channels as `factor` times those of `x`. */
  let rows = 0;
  const predictor = (factor: number) => (x: tf.Tensor, _t: tf.Tensor, y: tf.Tensor) => {
    rows = x.shape[0];
    return tf.tidy(() => tf.tile(tf.reshape(tf.cast(y, 'float32'), [-1, 1]), [1, factor * x.shape[1]!]));
  };
  const options = () => ({ labels: tf.tensor1d([1, 2], 'int32'), nullLabel: 10, scale: 3 });
  const guide = async (extra: object, factor = 1) =>
    (await classifierFreeGuidance(predictor(factor), { ...options(), ...extra })(tf.zeros([2, 2]), tf.fill([2], 0.5), level)).array();
  const guided = [10 + 3 * (1 - 10), 10 + 3 * (2 - 10)];

  test('extrapolates from the null label, in one batch', async () => {
    expect(await guide({})).toEqual(guided.map((value) => [value, value]));
    expect(rows).toBe(4);
    expect(await guide({ nullLabel: tf.tensor1d([10, 10], 'int32') })).toEqual(guided.map((value) => [value, value]));
  });

  test('guides only the channels asked for, and never a learned variance', async () => {
    expect(await guide({ channels: 1 })).toEqual([
      [guided[0], 1],
      [guided[1], 2],
    ]);
    expect(await guide({}, 2)).toEqual(guided.map((value, i) => [value, value, i + 1, i + 1]));
  });

  test('does not compute the unconditional half at scale 1 or outside its interval', async () => {
    for (const extra of [{ interval: [0.6, 1] }, { scale: 1 }]) {
      expect(await guide(extra)).toEqual([
        [1, 1],
        [2, 2],
      ]);
      expect(rows).toBe(2);
    }
  });

  test.each([
    [{ scale: Number.NaN }, /scale/],
    [{ interval: [1, 0.5] }, /interval/],
    [{ channels: 0 }, /channels/],
    [{ labels: tf.tensor1d([1, 2, 3], 'int32') }, /labels.*\[2\]/],
  ])('%o is refused', async (extra, message) => {
    await expect(guide(extra)).rejects.toThrow(message);
  });
});

test('autoguidance extrapolates from the weaker model', async () => {
  const constant = (value: number) => (x: tf.Tensor) => tf.fill(x.shape, value);
  const denoiser = autoguidance(constant(2), constant(1), { scale: 2.5 });
  expect(list(await denoiser(tf.zeros([1, 2]), tf.ones([1]), level))).toEqual([3.5, 3.5]);
});

describe('rules', () => {
  const at = { scale: 3, x: wave(9), level };
  const [good, worse] = [wave(1), wave(2)];

  test('CFG-Zero* does not depend on the size of the worse prediction, and starts at rest', () => {
    expect(cfgZeroStar()(good, worse, at)).toBeCloseTensor(cfgZeroStar()(good, tf.mul(worse, 7), at), 5e-5);
    // The projection of the good prediction on itself is itself.
    expect(cfgZeroStar()(good, tf.mul(good, 0.1), at)).toBeCloseTensor(good, 5e-5);
    expect(list(tf.max(tf.abs(cfgZeroStar()(good, worse, { ...at, level: flowPath('linear').level(1) }))))).toEqual([0]);
  });

  test.each(['start', 'noise', 'score', 'v'] as const)('CFG-Zero* is the same for models of %s', (prediction) => {
    const { x } = at;
    for (const t of [0.2, 0.7, 0.995]) {
      const level = flowPath('gvp').level(t);
      const output = (velocity: tf.Tensor) => {
        const [ofX, ofClean] = velocityWeights(level);
        const clean = tf.div(tf.sub(velocity, tf.mul(x, ofX)), ofClean);
        const [inX, inOutput] = cleanWeights(prediction, level);
        return tf.div(tf.sub(clean, tf.mul(x, inX)), inOutput);
      };
      const expected = output(cfgZeroStar()(good, worse, { ...at, level }));
      const found = cfgZeroStar(0.99, prediction)(output(good), output(worse), { ...at, level });
      // Near noise a velocity is a small difference of clean samples: alpha is 0.008 there.
      expect(found).toBeCloseTensor(expected, t > 0.9 ? 5e-3 : 5e-4);
    }
  });

  test('rescaled keeps the deviation of the good prediction', () => {
    const deviations = (x: tf.Tensor) => list(tf.sqrt(tf.moments(x, 1).variance));
    const [own, guided] = [deviations(good), deviations(rescaled(1)(good, worse, at))];
    for (const [i, value] of own.entries()) expect(guided[i]).toBeCloseTo(value, 4);
    expect(rescaled(0)(good, worse, at)).toBeCloseTensor(extrapolate(good, worse, at), 5e-5);
    expect(() => rescaled(1.5)).toThrow(/share/);
  });

  test('adaptive projection: all of the difference is plain guidance, none of it along the clean sample is orthogonal', () => {
    expect(adaptiveProjection({ parallel: 1 })(good, worse, at)).toBeCloseTensor(extrapolate(good, worse, at), 5e-5);
    const moved = tf.sub(adaptiveProjection()(good, worse, at), good);
    const clean = tf.sub(at.x, tf.mul(0.5, good));
    for (const product of list(tf.sum(tf.mul(moved, clean), 1))) expect(product).toBeCloseTo(0, 4);
    const short = tf.sub(adaptiveProjection({ parallel: 1, largest: 0.01 })(good, worse, at), good);
    // The limit is on the clean sample, half of the velocity here, and scale 3 doubles it.
    for (const size of list(tf.sqrt(tf.mean(tf.square(short), 1)))) expect(size).toBeCloseTo(0.01 * 2 * 2, 4);
  });

  test('momentum is of one run, and is freed', () => {
    const rule = adaptiveProjection({ parallel: 1, momentum: -0.5 });
    const before = tf.memory().numTensors;
    tf.tidy(() => {
      expect(rule(good, worse, at)).toBeCloseTensor(extrapolate(good, worse, at), 5e-5);
      const next = { ...at, level: flowPath('linear').level(0.4) };
      // The clean samples' difference is the velocity's times minus t: half of 0.5 was before, 0.4 is now.
      expect(rule(good, worse, next)).toBeCloseTensor(tf.add(good, tf.mul(tf.sub(good, worse), 2 * (1 - (0.5 * 0.5) / 0.4))), 5e-5);
      expect(rule(good, worse, at)).toBeCloseTensor(extrapolate(good, worse, at), 5e-5);
    });
    rule.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });

  const rules: Record<string, GuidanceRule> = {
    extrapolate,
    cfgZeroStar: cfgZeroStar(),
    rescaled: rescaled(),
    projection: adaptiveProjection({ largest: 0.5, parallel: 0.3 }),
  };
  test.each(Object.keys(rules))('%s guides a sample alone as in its batch', (name) => {
    const alone = (x: tf.Tensor) => tf.slice(x, [1, 0], [1, -1]);
    expect(alone(rules[name](good, worse, at))).toBeCloseTensor(rules[name](alone(good), alone(worse), { ...at, x: alone(at.x) }), 5e-5);
  });
});

test('guidance of any rule leaves no tensor in a run', async () => {
  const x = wave(1);
  const labels = tf.tensor1d([0, 1], 'int32');
  const projection = adaptiveProjection({ momentum: -0.5 });
  const before = tf.memory().numTensors;
  for (const rule of [extrapolate, cfgZeroStar(), rescaled(), projection]) {
    const denoiser = classifierFreeGuidance((z, _t, y) => tf.tidy(() => tf.mul(z, tf.reshape(tf.cast(y, 'float32'), [-1, 1]))), {
      labels,
      nullLabel: 2,
      scale: 2,
      rule,
    });
    (await finish(sample(flowModel(denoiser), x, { solver: 'unipc', steps: 4 }))).dispose();
  }
  projection.dispose();
  expect(tf.memory().numTensors).toBe(before);
});
