/** Counters against a plain loop over the plan on the host, on three backends and in a compiled step. */
import '@tensorflow/tfjs-backend-wasm';
import { compile, tensorFlowBackend } from '@dit-moe/tensor-ops';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import { fill } from '../../../../testing/fill.js';
import { linearScorer, type Routing, route, tokenChoice } from '../index.js';
import { columnShares, evenness, loadByKind, type RoutedBatch, RoutingCounter, RoutingTelemetry, specialisation } from './index.js';

const [layers, numExperts, tokens, batch, width] = [2, 4, 6, 3, 5];
const config = { layers, numExperts, tokens, timestepBuckets: 5, nullLabel: 9 };
const timesteps = [0, 420, 999];
const labels = [9, 2, 9];
const plans = (salt: number): Routing[] =>
  Array.from({ length: layers }, (_, l) => ({
    ...route(fill([batch * tokens, width], salt + l), linearScorer(fill([width, numExperts], 9 + l)), { selector: tokenChoice(2) }),
    dropped: tf.scalar(l),
  }));
const update = (telemetry: RoutingTelemetry, salt: number) =>
  telemetry.update(plans(salt), { timesteps: tf.tensor1d(timesteps), labels: tf.tensor1d(labels, 'int32') });

beforeAll(async () => {
  await useTensorFlow();
});

test.each(['cpu', 'wasm', 'tensorflow'])('counts what the plans say on %s, without leaks', async (backend) => {
  await tf.setBackend(backend);
  const telemetry = new RoutingTelemetry(config);
  const before = tf.memory().numTensors;
  for (const salt of [1, 2]) tf.tidy(() => update(telemetry, salt));
  expect(tf.memory().numTensors).toBe(before);
  const snapshot = await telemetry.read();

  expect(snapshot.steps).toBe(2);
  expect(snapshot.tokens).toBe(2 * batch * tokens);
  for (let l = 0; l < layers; l++) {
    const zero = (columns: number) => Array.from({ length: numExperts }, () => new Array<number>(columns).fill(0));
    const [byTimestep, byClass, byPosition, coActivation] = [zero(5), zero(2), zero(tokens), zero(numExperts)];
    let entropy = 0;
    for (const salt of [1, 2]) {
      const { indices, scores } = tf.tidy(() => {
        const plan = plans(salt)[l];
        return { indices: plan.indices.arraySync() as number[][], scores: plan.scores.arraySync() as number[][] };
      });
      indices.forEach((chosen, n) => {
        const sample = Math.floor(n / tokens);
        for (const e of chosen) {
          byTimestep[e][Math.floor(timesteps[sample] / 200)]++;
          byClass[e][labels[sample] === 9 ? 1 : 0]++;
          byPosition[e][n % tokens]++;
          for (const other of chosen) coActivation[e][other]++;
        }
        entropy -= scores[n].reduce((sum, p) => sum + p * Math.log(p), 0);
      });
    }
    const layer = snapshot.layers[l];
    expect(layer).toMatchObject({ byTimestep, byClass, byPosition, coActivation, nonFiniteTokens: 0 });
    const load = byPosition.map((row) => row.reduce((a, b) => a + b));
    const mean = load.reduce((a, b) => a + b) / numExperts;
    expect(layer.load).toEqual(load);
    expect(layer.maxOverMean).toBeCloseTo(Math.max(...load) / mean, 10);
    expect(layer.coefficientOfVariation).toBeCloseTo(Math.sqrt(load.reduce((s, n) => s + (n / mean - 1) ** 2, 0) / numExperts), 10);
    expect(layer.routerEntropy).toBeCloseTo(entropy / (2 * batch * tokens) / Math.log(numExperts), 5);
    expect(layer.dropRate).toBeCloseTo((2 * l) / (2 * 2 * batch * tokens), 6);
  }

  telemetry.reset();
  expect(await telemetry.read()).toMatchObject({ steps: 0, tokens: 0, layers: [{ load: [0, 0, 0, 0], deadExperts: [0, 1, 2, 3] }, {}] });
  telemetry.dispose();
});

test('a compiled step counts in place', async () => {
  await tf.setBackend('tensorflow');
  expect(tensorFlowBackend()).toBeDefined();
  const [eager, compiled] = [new RoutingTelemetry(config), new RoutingTelemetry(config)];
  const step = compile((x: tf.Tensor) => {
    const routing = Array.from({ length: layers }, (_, l) =>
      route(x, linearScorer(fill([width, numExperts], 9 + l)), { selector: tokenChoice(2) }),
    );
    compiled.update(routing, { timesteps: tf.tensor1d(timesteps), labels: tf.tensor1d(labels, 'int32') });
    return tf.scalar(0);
  });
  for (const salt of [1, 2, 3]) {
    const x = fill([batch * tokens, width], salt);
    step.runSync(x).dispose();
    tf.tidy(() =>
      eager.update(
        Array.from({ length: layers }, (_, l) => route(x, linearScorer(fill([width, numExperts], 9 + l)), { selector: tokenChoice(2) })),
        { timesteps: tf.tensor1d(timesteps), labels: tf.tensor1d(labels, 'int32') },
      ),
    );
    x.dispose();
  }
  expect(step.traces).toBe(1);
  expect(await compiled.read()).toEqual(await eager.read());
  step.dispose();
  eager.dispose();
  compiled.dispose();
});

test.each(['cpu', 'wasm', 'tensorflow'])('tokens that are not finite are reported and enter no count on %s', async (backend) => {
  await tf.setBackend(backend);
  const telemetry = new RoutingTelemetry({ layers: 1, numExperts, tokens });
  const load = tf.tidy(() => {
    const x = fill([tokens, width], 1).arraySync() as number[][];
    x[2][1] = Number.NaN;
    x[4][0] = Number.POSITIVE_INFINITY;
    const plan = route(tf.tensor2d(x), linearScorer(fill([width, numExperts], 9)), { selector: tokenChoice(2) });
    telemetry.update([plan]);
    return plan.load.arraySync() as number[];
  });
  expect(load.reduce((a, b) => a + b)).toBe((tokens - 2) * 2);
  const { layers: found } = await telemetry.read();
  expect(found[0]).toMatchObject({ nonFiniteTokens: 2, load });
  expect(Number.isFinite(found[0].routerEntropy)).toBe(true);
  telemetry.dispose();
});

test('a table that is too large, or another model, is refused', () => {
  expect(() => new RoutingTelemetry({ layers: 40, numExperts: 64, tokens: 4096 })).toThrow(/fewer positions/);
  void tf.setBackend('cpu');
  const telemetry = new RoutingTelemetry({ layers: 1, numExperts: 3, tokens });
  expect(() => telemetry.update(plans(1))).toThrow(/layers/);
  expect(() => telemetry.update(plans(1).slice(1))).toThrow(/3 experts/);
  telemetry.dispose();
});

describe('on the host', () => {
  test('specialisation is 1 where the column decides, 0 where it does not matter', () => {
    const decides = [
      [5, 0, 0],
      [0, 7, 2],
    ];
    const indifferent = [
      [2, 4, 6],
      [1, 2, 3],
    ];
    expect(specialisation(decides)).toBeCloseTo(1, 12);
    expect(specialisation(indifferent)).toBeCloseTo(0, 12);
    expect(columnShares(indifferent)).toEqual([
      [2 / 3, 2 / 3, 2 / 3],
      [1 / 3, 1 / 3, 1 / 3],
    ]);
    expect([evenness([3, 3, 3]), evenness([9, 0, 0])]).toEqual([1, 0]);
    expect(loadByKind([1, 3, 4], ['swiglu', 'copy', 'swiglu'])).toEqual({ swiglu: 5 / 8, copy: 3 / 8 });
    expect(loadByKind([0, 0], ['zero', 'copy'])).toEqual({ zero: 0, copy: 0 });
  });

  test('count every conditional token once per choice, as a plain loop does', () => {
    const counter = new RoutingCounter({ numExperts: 4, tokens: 2, classes: 2 });
    // Three images of two tokens with two choices each; the last image is unconditional.
    const batch: RoutedBatch = {
      layers: [Int32Array.of(0, 1, 2, 3, 1, 0, 0, 2, 3, 3, 3, 3)],
      labels: Int32Array.of(0, 1, 2),
      time: 1,
    };
    counter.add(batch);
    counter.add({ ...batch, time: 0.5 });
    const { layers, times, evaluations } = counter;
    expect([times, evaluations]).toEqual([[1, 0.5], 4]);
    expect(layers[0]).toEqual({
      load: [6, 4, 4, 2],
      byClass: [
        [2, 4],
        [2, 2],
        [2, 2],
        [2, 0],
      ],
      byPosition: [
        [4, 2],
        [4, 0],
        [0, 4],
        [0, 2],
      ],
      byTimestep: [
        [3, 3],
        [2, 2],
        [2, 2],
        [1, 1],
      ],
      coActivation: [
        [6, 4, 2, 0],
        [4, 4, 0, 0],
        [2, 0, 4, 2],
        [0, 0, 2, 2],
      ],
      perToken: [0, 0, 8, 0, 0],
    });
  });
});
