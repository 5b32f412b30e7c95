import { Parameter } from '@dit-moe/tensor-ops';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs';
import { beforeAll, expect, test } from 'vitest';
import { fill } from '../../../../testing/fill.js';
import { linearScorer, route, tokenChoice } from '../index.js';
import { LoadBias, recordRouting, replayLayer } from './index.js';

const [tokens, width, numExperts] = [64, 8, 4];
// A common offset makes the first experts win nearly always.
const scorer = () => linearScorer(fill([width, numExperts], 2), tf.tensor1d([1, 0.6, 0, 0]));

beforeAll(async () => void (await useTensorFlow()));

test.each(['cpu', 'tensorflow'])('the bias evens the load and leaves the weights alone on %s', async (backend) => {
  await tf.setBackend(backend);
  const bias = Parameter.create('bias', () => tf.zeros([numExperts]));
  const balance = new LoadBias([bias], 0.01);
  const x = tf.randomNormal([tokens, width], 0, 0.7, 'float32', 1);
  const spread = (load: number[]) => Math.max(...load) - Math.min(...load);
  const before = tf.memory().numTensors;
  const history = Array.from({ length: 200 }, () =>
    tf.tidy(() => {
      const { load, indices, weights, scores } = route(x, scorer(), {
        scoreFunction: 'sigmoid',
        selector: tokenChoice(2, { bias: bias.read() }),
      });
      balance.count([{ load }]);
      balance.update();
      const rows = scores.arraySync() as number[][];
      const picked = (indices.arraySync() as number[][]).map((row, n) => row.map((e) => rows[n][e]));
      expect(weights.arraySync()).toEqual(picked);
      return load.arraySync() as number[];
    }),
  );
  expect(tf.memory().numTensors).toBe(before);
  expect(spread(history[0])).toBeGreaterThan(30);
  expect(spread(history.at(-1)!)).toBeLessThan(spread(history[0]) / 5);
  const final = (await bias.data()) as Float32Array;
  expect(final.reduce((a, b) => a + b)).toBeCloseTo(0, 5);
  balance.dispose();
  bias.dispose();
  x.dispose();
});

test('recorded choices are repeated with the weights of the present scores, gradients included', async () => {
  await tf.setBackend('cpu');
  const config = { selector: tokenChoice(2) };
  const x = fill([tokens, width], 1);
  const plan = route(x, scorer(), config);
  const record = JSON.parse(JSON.stringify(await recordRouting([plan])));
  const moved = tf.add(x, 0.5);
  const again = route(moved, scorer(), { selector: replayLayer(record, 0) });
  expect(again.indices.arraySync()).toEqual(plan.indices.arraySync());
  const same = (from: 'choice' | 'replay') =>
    tf
      .grad((input) =>
        tf.sum(
          tf.mul(route(input, scorer(), from === 'replay' ? { selector: replayLayer(record, 0) } : config).weights, fill([tokens, 2], 3)),
        ),
      )(x)
      .dataSync();
  const [chosen, replayed] = [same('choice'), same('replay')];
  for (let i = 0; i < chosen.length; i++) expect(Math.abs(chosen[i] - replayed[i])).toBeLessThan(1e-6);
  expect(() => route(tf.zeros([3, width]), scorer(), { selector: replayLayer(record, 0) })).toThrow(/indices/);
});
