import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import { exactFlow, normalPoints } from '../test/mixture.js';
import { type CacheSchedule, cached, finish, flowPath, type NoiseLevel, type SolverName, sample } from './index.js';

beforeAll(() => tf.setBackend('cpu'));

const path = flowPath('linear');
const uniform = (steps: number): NoiseLevel[] => path.uniform(steps).map((t) => path.level(t));
const labels = tf.tensor1d([0, 1], 'int32');

/** Asks a model of `value(t)` at the places, and says what it was asked and what came out. */
async function ask(schedule: CacheSchedule, places: readonly NoiseLevel[], value: (t: number) => number, batch = () => 2) {
  const asked: number[] = [];
  const model = cached((x, t) => {
    asked.push(t.dataSync()[0]);
    return tf.fill(x.shape, value(t.dataSync()[0]));
  }, schedule);
  const given: number[] = [];
  for (const level of places) {
    const [x, t] = [tf.zeros([batch(), 3]), tf.fill([batch()], level.time)];
    const prediction = await model(x, t, labels, level);
    expect(prediction.shape).toEqual(x.shape);
    given.push(prediction.dataSync()[0]);
    tf.dispose([x, t, prediction]);
  }
  model.dispose();
  return { asked, given };
}

describe('what is left out', () => {
  test('every n-th call after the first two is computed', async () => {
    const { asked } = await ask(3, uniform(10), () => 1);
    expect(asked.map((t) => Math.round(10 * t))).toEqual([10, 9, 6, 3]);
  });

  test.each([
    ['fast', 50, 23],
    ['exact', 50, 39],
    ['fast', 250, 37],
    ['fast', 10, 10],
  ] as const)('%s computes of %i even steps %i', async (schedule, steps, expected) => {
    const { asked } = await ask(schedule, uniform(steps), () => 1);
    expect(asked).toHaveLength(expected);
    // Where predictions change fast, at both ends, all; none of those in between are farther apart than at the ends.
    expect(asked.slice(0, 2)).toEqual([1, expect.closeTo(1 - 1 / steps, 6)]);
    expect(asked.at(-1)).toBeCloseTo(1 / steps, 6);
  });

  test('a second call at one place, as of a solver that corrects itself, is answered by the first', async () => {
    const [a, b, c] = uniform(3);
    const { asked } = await ask('exact', [a, b, b, c, c], () => 1);
    expect(asked).toHaveLength(3);
  });

  test('where the size of the batch changes, the model is asked', async () => {
    let size = 4;
    let calls = 0;
    const { asked } = await ask(
      100,
      uniform(8),
      () => 1,
      () => (calls++ >= 8 ? (size = 2) : size),
    );
    expect(asked).toHaveLength(4);
  });

  test.each(['slow', 1, 2.5, Number.NaN])('%s is no schedule', (schedule) => {
    expect(() => cached(() => tf.zeros([1]), schedule as CacheSchedule)).toThrow(/cache.*fast, exact, or a whole number from 2/);
  });
});

test.each(['fast', 'exact', 2, 5] as const)('%s: a prediction that is linear in the place is met', async (schedule) => {
  const { given } = await ask(schedule, uniform(40), (t) => 3 - 2 * t);
  for (const [i, value] of given.entries()) expect(value).toBeCloseTo(3 - 2 * (1 - i / 40), 4);
});

describe('samples of a mixture', () => {
  const exact = exactFlow();
  const count = 64;
  /** Root mean square distance to the samples without a cache; the components are 2 apart. */
  async function distance(solver: SolverName, steps: number, schedule: CacheSchedule): Promise<number> {
    const points = (seed: number) => tf.tensor2d(Float32Array.from(normalPoints(count, seed)), [count, 2]);
    const run = async (denoiser: typeof exact.denoiser) => {
      const start = points(1);
      const end = await finish(sample({ ...exact, denoiser }, start, { solver, steps, noise: (step) => points(step + 2) }));
      const numbers = Array.from(await end.data());
      tf.dispose([start, end]);
      return numbers;
    };
    const model = cached((x, t, _y, level) => exact.denoiser(x, t, level), schedule);
    const [plain, skipping] = [await run(exact.denoiser), await run((x, t, level) => model(x, t, labels, level))];
    model.dispose();
    return Math.sqrt(plain.reduce((sum, value, i) => sum + (value - skipping[i]) ** 2, 0) / count);
  }

  test.each([
    ['euler', 50, 0.03],
    ['heun', 25, 0.03],
    ['dpm++2m', 50, 0.03],
    ['unipc', 50, 0.03],
    // Fresh noise carries a small difference to another component.
    ['ddpm', 250, 0.3],
  ] as const)('by %s stay near, by exact nearer than by fast; no tensor is left', async (solver, steps, bound) => {
    const before = tf.memory().numTensors;
    const [fast, near] = [await distance(solver, steps, 'fast'), await distance(solver, steps, 'exact')];
    expect(fast).toBeLessThan(bound);
    expect(near).toBeLessThanOrEqual(fast);
    expect(tf.memory().numTensors).toBe(before);
  });
});
