/** Extremes of sizes and loads, broken inputs, and that two runs are equal bit for bit. */
import { compile, swiglu } from '@dit-moe/tensor-ops';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import { fill } from '../../../testing/fill.js';
import { capacity, dense, padded, routedExperts, slices } from './dispatch/index.js';
import { linearScorer, moe, route, routerNoise, type Selector, tokenChoice } from './index.js';
import { assignNullClass, assignTimesteps, expertChoice, forced, globalTopK, ThresholdEstimate, threshold } from './select/index.js';
import { topMask } from './select/mask.js';
import { RoutingTelemetry } from './telemetry/index.js';

const dispatchers = { slices, padded, dense, capacity: capacity({ factor: 100 }) };
const [width, hidden] = [6, 4];
const weightsFor = (numExperts: number) => ({
  gate: fill([width, numExperts], 1),
  'experts.gateUp': fill([numExperts, 2, width, hidden], 2),
  'experts.down': fill([numExperts, hidden, width], 3),
});
/** Output of the layer by a loop over experts, each on all tokens, of which those count that chose it. */
const expected = (x: tf.Tensor, numExperts: number, selector: Selector) => {
  const weights = weightsFor(numExperts);
  const plan = route(x, linearScorer(weights.gate), { selector });
  const [gateUps, downs] = [tf.unstack(weights['experts.gateUp']), tf.unstack(weights['experts.down'])];
  return tf.addN(
    gateUps.map((gateUp, e) => {
      const chosen = tf.cast(tf.equal(plan.indices, e), 'float32'); // [N, m]
      return tf.mul(swiglu(x, gateUp, downs[e]), tf.sum(tf.mul(chosen, plan.weights), 1, true));
    }),
  );
};

beforeAll(async () => void (await useTensorFlow()));

describe.each(['cpu', 'tensorflow'])('on %s', (backend) => {
  beforeAll(async () => void (await tf.setBackend(backend)));

  test.each(Object.keys(dispatchers) as (keyof typeof dispatchers)[])(
    '%s: one expert, all experts, one token, one expert for all',
    async (name) => {
      await tf.setBackend(backend);
      tf.tidy(() => {
        const dispatcher = dispatchers[name];
        for (const [tokens, numExperts, topK] of [
          [5, 1, 1],
          [5, 4, 4],
          [1, 4, 2],
          [1, 1, 1],
        ] as const) {
          const x = fill([tokens, width], 7);
          const selector = tokenChoice(topK);
          const { output, routing } = moe(x, weightsFor(numExperts), { selector, dispatcher });
          expect(output).toBeCloseTensor(expected(x, numExperts, selector));
          expect(routing.load.sum().dataSync()[0]).toBe(tokens * topK);
          expect(routing.dropped?.dataSync()[0] ?? 0).toBe(0);
        }
        // Every token to expert 2, whatever it is.
        const x = fill([9, width], 7);
        const selector = tokenChoice(1, { bias: tf.tensor1d([0, 0, 50, 0]) });
        const all = moe(x, weightsFor(4), { selector, dispatcher });
        expect(all.routing.load.arraySync()).toEqual([0, 0, 9, 0]);
        expect(all.output).toBeCloseTensor(expected(x, 4, selector));
      });
    },
  );

  test('capacity counts what it drops', async () => {
    await tf.setBackend(backend);
    const telemetry = new RoutingTelemetry({ layers: 1, numExperts: 4, tokens: 9 });
    tf.tidy(() => {
      const selector = tokenChoice(1, { bias: tf.tensor1d([0, 0, 50, 0]) });
      const { routing } = moe(fill([9, width], 7), weightsFor(4), { selector, dispatcher: capacity({ perExpert: 4 }) });
      expect(routing.dropped!.dataSync()[0]).toBe(5);
      telemetry.update([routing]);
    });
    const { layers } = await telemetry.read();
    expect(layers[0].dropRate).toBeCloseTo(5 / 9, 6);
    telemetry.dispose();
  });

  test('a token with NaN spoils its own output only, and no count', async () => {
    await tf.setBackend(backend);
    for (const dispatcher of Object.values(dispatchers)) {
      const { rows, load } = tf.tidy(() => {
        const numbers = fill([6, width], 7).arraySync() as number[][];
        numbers[2][3] = Number.NaN;
        const { output, routing } = moe(tf.tensor2d(numbers), weightsFor(4), { selector: tokenChoice(2), dispatcher });
        return { rows: output.arraySync() as number[][], load: routing.load.arraySync() as number[] };
      });
      expect(rows.map((row) => row.every(Number.isFinite))).toEqual([true, true, false, true, true, true]);
      expect(load.reduce((a, b) => a + b)).toBe(10);
    }
  });
});

test('two runs are equal bit for bit, also compiled', async () => {
  await tf.setBackend('tensorflow');
  const [tokens, numExperts] = [512, 8];
  for (const dispatcher of Object.values(dispatchers))
    for (const selector of [tokenChoice(2), expertChoice(2)]) {
      if (
        dispatcher === dispatchers.capacity &&
        selector({ scores: tf.ones([8, 8]), logits: tf.ones([8, 8]), numExperts: 8 }).full === false
      )
        continue;
      const step = compile((x: tf.Tensor, gate: tf.Tensor, gateUp: tf.Tensor, down: tf.Tensor) =>
        tf.grads((...[a, b, c, d]: tf.Tensor[]) => {
          const plan = route(a, linearScorer(b), { selector });
          return routedExperts(a, plan, { gateUp: c, down: d }, { dispatcher }).output;
        })([x, gate, gateUp, down]),
      );
      const weights = weightsFor(numExperts);
      const inputs = [fill([tokens, width], 5), weights.gate, weights['experts.gateUp'], weights['experts.down']] as const;
      const [first, second] = [step.runSync(...inputs), step.runSync(...inputs)];
      first.forEach((t, i) => {
        expect(Buffer.compare(Buffer.from(t.dataSync().buffer), Buffer.from(second[i].dataSync().buffer))).toBe(0);
      });
      step.dispose();
    }
});

test('selectors choose as many as they say, ties included', () => {
  void tf.setBackend('cpu');
  tf.tidy(() => {
    const ties = tf.tensor2d([[1, 2, 2, 2, 0, 2]]);
    expect(topMask(ties, 3).arraySync()).toEqual([[0, 1, 1, 1, 0, 0]]);
    const [samples, tokens, numExperts] = [3, 8, 4];
    const x = fill([samples * tokens, width], 3);
    const plan = (selector: Selector) => route(x, linearScorer(fill([width, numExperts], 1)), { selector });
    const chosen = (from: { indices: tf.Tensor }) =>
      (from.indices.arraySync() as number[][]).map((row) => row.filter((e) => e < numExperts));
    const perSample = chosen(plan(expertChoice(2, { sequences: samples })));
    for (let b = 0; b < samples; b++)
      for (let e = 0; e < numExperts; e++)
        expect(perSample.slice(b * tokens, (b + 1) * tokens).filter((row) => row.includes(e)).length).toBe((2 * tokens) / numExperts);
    expect(chosen(plan(globalTopK(1.5))).flat().length).toBe(1.5 * samples * tokens);
    expect(plan(expertChoice(2)).load.arraySync()).toEqual([12, 12, 12, 12]);
    expect(() => plan(expertChoice(5))).toThrow(/at most 4/);
    expect(() => plan(globalTopK(1, { sequences: 5 }))).toThrow(/divisor of the 24/);
  });
});

test('group-limited choice stays within the best groups', () => {
  void tf.setBackend('cpu');
  tf.tidy(() => {
    const scores = tf.tensor2d([[0.9, 0, 0.5, 0.5, 0.4, 0.3, 0.8, 0.05]]);
    const choose = (groups: { count: number; keep: number }, topK: number) =>
      tokenChoice(topK, { groups })({ scores, logits: scores, numExperts: 8 });
    // Sums of the two best: 0.9, 1.0, 0.7, 0.85.
    expect(choose({ count: 4, keep: 1 }, 2).indices.arraySync()).toEqual([[2, 3]]);
    expect(choose({ count: 4, keep: 2 }, 3).indices.arraySync()).toEqual([[0, 2, 3]]);
    expect(() => choose({ count: 4, keep: 1 }, 3)).toThrow(/1 to 2/);
    expect(() => choose({ count: 3, keep: 1 }, 1)).toThrow(/divisor of 8/);
  });
});

test('forced assignments by label and timestep', () => {
  void tf.setBackend('cpu');
  tf.tidy(() => {
    expect(assignNullClass(tf.tensor1d([9, 2], 'int32'), 2, 9, 3).arraySync()).toEqual([3, 3, -1, -1]);
    expect(
      assignTimesteps(tf.tensor1d([0, 500, 999]), 1, [
        { from: 0, to: 100, expert: 1 },
        { from: 900, to: 1000, expert: 0 },
      ]).arraySync(),
    ).toEqual([1, -1, 0]);
    const assignment = assignNullClass(tf.tensor1d([9, 2], 'int32'), 2, 9, 3);
    const selector = forced(assignment, tokenChoice(2), { reserved: 1 });
    const plan = route(fill([4, width], 2), linearScorer(fill([width, 4], 1)), { selector });
    const rows = plan.indices.arraySync() as number[][];
    expect(rows.slice(0, 2)).toEqual([
      [3, 4],
      [3, 4],
    ]);
    expect(
      rows
        .slice(2)
        .flat()
        .every((e) => e < 3),
    ).toBe(true);
    expect((plan.weights.arraySync() as number[][])[0]).toEqual([1, 0]);
  });
});

test.each(['cpu', 'tensorflow'])('a running threshold keeps the mean number of experts per token on %s', async (backend) => {
  await tf.setBackend(backend);
  const estimate = new ThresholdEstimate(1, 4);
  const scorer = () => linearScorer(fill([width, 4], 1));
  const scoreFunction = 'sigmoid';
  const before = tf.memory().numTensors;
  const mean = tf.tidy(() => {
    for (let step = 1; step <= 20; step++) {
      const { scores } = route(fill([200, width], step), scorer(), { scoreFunction, selector: globalTopK(1.5) });
      estimate.update([scores], 1.5, 'all');
    }
    const plan = route(fill([2000, width], 99), scorer(), { scoreFunction, selector: threshold(estimate.read()[0]) });
    return plan.load.sum().dataSync()[0] / 2000;
  });
  expect(tf.memory().numTensors).toBe(before);
  expect(Math.abs(mean - 1.5)).toBeLessThan(0.1);
  estimate.dispose();
});

test('noise is drawn by sample and changes the choice only in training', () => {
  void tf.setBackend('cpu');
  tf.tidy(() => {
    const options = { jitter: { amount: 0.01, width }, gate: { std: 0.25, numExperts: 4 } };
    const draw = (indices: number[]) => routerNoise({ seed: 3, purpose: 'router.0', indices }, 2, options);
    const [both, second] = [draw([7, 8]), draw([8])];
    expect(tf.slice(both.gate!, [2, 0], [2, 4]).arraySync()).toEqual(second.gate!.arraySync());
    const { jitter } = both;
    expect(tf.min(jitter!).dataSync()[0]).toBeGreaterThanOrEqual(0.99 - 1e-6);
    expect(tf.max(jitter!).dataSync()[0]).toBeLessThanOrEqual(1.01 + 1e-6);
    const x = fill([4, width], 2);
    const logits = (noise?: typeof both) =>
      route(x, linearScorer(fill([width, 4], 1)), { selector: tokenChoice(2), ...(noise && { noise }) }).logits;
    expect(logits(both)).not.toBeCloseTensor(logits(), 0.05, 0);
  });
});

test('a router on the timestep alone gives one choice per sequence', () => {
  void tf.setBackend('cpu');
  tf.tidy(() => {
    const routerInput = fill([2, 3], 4);
    const plan = route(fill([8, width], 2), linearScorer(fill([3, 4], 1)), { selector: tokenChoice(1), routerInput });
    const rows = (plan.indices.arraySync() as number[][]).flat();
    expect(new Set(rows.slice(0, 4)).size).toBe(1);
    expect(new Set(rows.slice(4)).size).toBe(1);
    expect(() =>
      route(fill([8, width], 2), linearScorer(fill([3, 4], 1)), { selector: tokenChoice(1), routerInput: fill([3, 3], 1) }),
    ).toThrow(/divisor/);
  });
});
