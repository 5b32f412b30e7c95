import * as tf from '@tensorflow/tfjs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compile } from '../compile.js';
import { type TensorFlowRuntime, useTensorFlow } from '../node/index.js';
import { Parameter } from '../parameter.js';
import { AdamW, clipByGlobalNorm, Ema, GradientAccumulator, globalNorm } from './index.js';

let runtime: TensorFlowRuntime;
beforeAll(async () => {
  runtime = await useTensorFlow();
});
afterAll(() => runtime.shutdown());

const values = (n: number, seed: number) => Float32Array.from({ length: n }, (_, i) => Math.sin(seed * 7.3 + i * 1.7));

/** AdamW as in the paper (algorithm 2), in float64. */
function reference(weights: number[], grads: (step: number) => number[], steps: number, lr: number, decay: number) {
  const m = weights.map(() => 0);
  const v = weights.map(() => 0);
  const w = [...weights];
  for (let t = 1; t <= steps; t++) {
    for (const [i, g] of grads(t).entries()) {
      m[i] = 0.9 * m[i] + 0.1 * g;
      v[i] = 0.999 * v[i] + 0.001 * g * g;
      w[i] = w[i] * (1 - lr * decay) - (lr * (m[i] / (1 - 0.9 ** t))) / (Math.sqrt(v[i] / (1 - 0.999 ** t)) + 1e-8);
    }
  }
  return w;
}

describe.each(['cpu', 'tensorflow'])('on %s', (backend) => {
  const use = () => tf.setBackend(backend);

  test.each([0, 0.1])('AdamW equals the paper with weight decay %s', async (weightDecay) => {
    await use();
    const start = values(5, 1);
    const w = new Parameter('w', tf.tensor1d(start));
    const untouched = new Parameter('untouched', tf.scalar(3));
    const optimizer = new AdamW({ w, untouched }, { weightDecay });
    const step = compile((g: tf.Tensor, lr: tf.Tensor) => {
      optimizer.apply({ w: g }, lr);
      return w.read();
    });
    const before = tf.memory().numTensors;
    for (let t = 1; t <= 20; t++) {
      const [g, lr] = [tf.tensor1d(values(5, t + 1)), tf.scalar(0.01)];
      tf.dispose([g, lr, await step.run(g, lr)]);
    }
    expect(tf.memory().numTensors).toBe(before);
    const expected = reference([...start], (t) => [...values(5, t + 1)], 20, 0.01, weightDecay);
    for (const [i, x] of [...(await w.data())].entries()) expect(x).toBeCloseTo(expected[i], 6);
    expect([...(await untouched.data())]).toEqual([3]);
    expect([...(await optimizer.step.data())]).toEqual([20]);
    expect(() => optimizer.apply({ other: tf.scalar(1) }, 1)).toThrow(/other/);
  });

  test('clipping scales to the norm asked for and leaves small gradients alone', async () => {
    await use();
    const grads = { a: tf.tensor1d([3, 0]), b: tf.tensor2d([[4]]) };
    expect((await globalNorm(grads).data())[0]).toBeCloseTo(5, 6);
    expect((await globalNorm(clipByGlobalNorm(grads, 1)).data())[0]).toBeCloseTo(1, 6);
    expect(await clipByGlobalNorm(grads, 6)['a'].array()).toEqual([3, 0]);
    expect(await clipByGlobalNorm({ a: tf.zeros([2]) }, 1)['a'].array()).toEqual([0, 0]);
    expect((await globalNorm({ a: tf.tensor1d([1, Number.NaN]) }).data())[0]).toBeNaN();
  });

  test('any split into micro-batches gives the gradient of the whole batch', async () => {
    await use();
    const w = new Parameter('w', tf.zeros([3]));
    const samples = Array.from({ length: 7 }, (_, i) => values(3, i));
    const meanOf = (part: Float32Array[]) => tf.tidy(() => tf.mean(tf.stack(part.map((p) => tf.tensor1d(p))), 0));
    const whole = await meanOf(samples).data();
    const accumulator = new GradientAccumulator({ w });
    for (const sizes of [[7], [3, 4], [1, 5, 1], [1, 1, 1, 1, 1, 1, 1]]) {
      let at = 0;
      for (const size of sizes) accumulator.add({ w: meanOf(samples.slice(at, (at += size))) }, size);
      for (const [i, x] of [...(await accumulator.take()['w'].data())].entries()) expect(x).toBeCloseTo(whole[i], 6);
    }
    accumulator.add({ w: tf.ones([3]) }, 5);
    accumulator.reset();
    accumulator.add({ w: tf.ones([3]) }, 1);
    expect(await accumulator.take()['w'].array()).toEqual([1, 1, 1]);
  });

  test('gradients that are made when their turn has come step as those that are there, and start anew', async () => {
    await use();
    const [a, b] = ['a', 'b'].map((name, i) => new Parameter(name, tf.fill([2], i + 1)));
    const [late, now] = [
      { a, b },
      { a: new Parameter('a', tf.ones([2])), b: new Parameter('b', tf.fill([2], 2)) },
    ];
    const accumulators = [new GradientAccumulator(late), new GradientAccumulator(now)] as const;
    const optimizers = [new AdamW(late), new AdamW(now)] as const;
    const step = compile(() => {
      optimizers[0].apply(accumulators[0].takeEach(), 0.1);
      return tf.scalar(0);
    });
    for (const gradient of [3, -5]) {
      for (const accumulator of accumulators) accumulator.add({ a: tf.fill([2], gradient), b: tf.fill([2], gradient / 2) }, 2);
      (await step.run()).dispose();
      optimizers[1].apply(accumulators[1].take(), 0.1);
    }
    for (const name of ['a', 'b'] as const) expect(await late[name].data()).toEqual(await now[name].data());
    step.dispose();
  });

  test('averages follow the weights at their own rates', async () => {
    await use();
    const w = new Parameter('w', tf.tensor1d([1, 2]));
    const [fast, slow] = [new Ema({ w }, 0.5), new Ema({ w }, 0.9)];
    for (const next of [3, 5]) {
      w.assign(tf.fill([2], next));
      fast.update();
      slow.update();
    }
    const expected = (start: number, d: number) => d * (d * start + (1 - d) * 3) + (1 - d) * 5;
    for (const [ema, d] of [
      [fast, 0.5],
      [slow, 0.9],
    ] as const) {
      const average = await ema.averages.parameters['w'].data();
      expect(average[0]).toBeCloseTo(expected(1, d), 6);
      expect(average[1]).toBeCloseTo(expected(2, d), 6);
    }
  });
});

test.each([{ beta1: 1 }, { beta2: -0.1 }, { epsilon: -1 }, { weightDecay: Number.NaN }])('AdamW refuses %s', (options) => {
  expect(() => new AdamW({}, options)).toThrow(/AdamW/);
});
