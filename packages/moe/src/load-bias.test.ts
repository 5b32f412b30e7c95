import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs';
import { beforeAll, expect, test } from 'vitest';
import { LoadBias, linearScorer, recordRouting, replayLayer, route } from './index.js';

const [tokens, width, numExperts] = [64, 8, 4];
const values = (shape: number[], salt: number) =>
  tf.tensor(
    Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, i) => Math.sin(7.13 * (i + 1) + 3.7 * salt)),
    shape,
  );
// A common offset makes the first experts win nearly always.
const scorer = () => linearScorer(values([width, numExperts], 2), tf.tensor1d([1, 0.6, 0, 0]));

beforeAll(async () => void (await useTensorFlow()));

test.each(['cpu', 'tensorflow'])('the bias evens the load and leaves the weights alone on %s', async (backend) => {
  await tf.setBackend(backend);
  const bias = new LoadBias(1, numExperts);
  const config = { numExperts, topK: 2, scoreFunction: 'sigmoid' } as const;
  const x = values([tokens, width], 1);
  const spread = (load: number[]) => Math.max(...load) - Math.min(...load);
  const before = tf.memory().numTensors;
  const history = Array.from({ length: 200 }, () =>
    tf.tidy(() => {
      const { load, indices, weights, scores } = route(x, scorer(), config, { bias: bias.read()[0] });
      bias.update(tf.expandDims(load, 0), 0.01);
      const rows = scores.arraySync() as number[][];
      const picked = (indices.arraySync() as number[][]).map((row, n) => row.map((e) => rows[n][e]));
      expect(weights.arraySync()).toEqual(picked);
      return load.arraySync() as number[];
    }),
  );
  expect(tf.memory().numTensors).toBe(before);
  expect(spread(history[0])).toBeGreaterThan(30);
  expect(spread(history.at(-1)!)).toBeLessThan(6);
  const final = (await bias.parameter.data()) as Float32Array;
  expect(final.reduce((a, b) => a + b)).toBeCloseTo(0, 5);
  bias.dispose();
  x.dispose();
});

test('recorded choices are repeated with the weights of the present scores, gradients included', async () => {
  await tf.setBackend('cpu');
  const config = { numExperts, topK: 2 };
  const x = values([tokens, width], 1);
  const plan = route(x, scorer(), config);
  const record = JSON.parse(JSON.stringify(await recordRouting([plan])));
  const moved = tf.add(x, 0.5);
  const again = route(moved, scorer(), config, { selector: replayLayer(record, 0) });
  expect(again.indices.arraySync()).toEqual(plan.indices.arraySync());
  const same = (from: 'choice' | 'replay') =>
    tf
      .grad((input) =>
        tf.sum(
          tf.mul(
            route(input, scorer(), config, from === 'replay' ? { selector: replayLayer(record, 0) } : {}).weights,
            values([tokens, 2], 3),
          ),
        ),
      )(x)
      .dataSync();
  const [chosen, replayed] = [same('choice'), same('replay')];
  for (let i = 0; i < chosen.length; i++) expect(Math.abs(chosen[i] - replayed[i])).toBeLessThan(1e-6);
  expect(() => route(tf.zeros([3, width]), scorer(), config, { selector: replayLayer(record, 0) })).toThrow(/indices/);
});
