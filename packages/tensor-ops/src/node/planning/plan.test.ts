import * as tf from '@tensorflow/tfjs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { AdamW, bincount, conv2d, Ema, GradientAccumulator, ParameterSet, tensorFlowBackend, valueAndGrads } from '../../index.js';
import { declared, plan, type TensorFlowRuntime, useTensorFlow } from '../index.js';

let runtime: TensorFlowRuntime;
beforeAll(async () => {
  runtime = await useTensorFlow();
});
afterAll(() => runtime.shutdown());

const KiB = 2 ** 10;

describe('memory', () => {
  test('counts what is alive at once; ops may write into an input that nobody needs any more', () => {
    // 256 numbers are 1 KiB.
    const chain = (n: number) => (x: tf.Tensor) => {
      let y = tf.sin(x);
      for (let i = 0; i < n; i++) y = tf.sqrt(y);
      return y;
    };
    for (const n of [1, 10])
      expect(plan(chain(n), [{ shape: [256] }]).memory).toEqual({ variables: 0, inputs: KiB, outputs: KiB, working: KiB });
    // All ten live until they are added up.
    const kept = (x: tf.Tensor) => tf.addN(Array.from({ length: 10 }, (_, i) => tf.sin(tf.mul(x, i))));
    const found = plan(kept, [{ shape: [256] }]);
    expect(found.memory.working).toBeGreaterThanOrEqual(10 * KiB);
    expect(found.memory.working).toBeLessThanOrEqual(12 * KiB);
    expect(found.atPeak[0]).toMatchObject({ op: 'Sin' });
  });

  test('views take none, and keep what they view alive', () => {
    const view = (x: tf.Tensor) => tf.reshape(tf.expandDims(tf.sin(x)), [-1]);
    expect(plan(view, [{ shape: [256] }]).memory.working).toBe(KiB);
  });

  test('variables are those of the step, gradients and moments among them', () => {
    const state = declared(() => {
      const set = ParameterSet.create({ w: { shape: [64, 32], initial: { kind: 'uniform', limit: 1 } } }, 0);
      return {
        set,
        optimizer: new AdamW(set.parameters),
        ema: new Ema(set.parameters, 0.9),
        sums: new GradientAccumulator(set.parameters),
      };
    });
    const step = (x: tf.Tensor): tf.Tensor => {
      const weights = state.set.read();
      const loss = () => tf.sum(tf.square(tf.matMul(x as tf.Tensor2D, weights['w'] as tf.Tensor2D))) as tf.Scalar;
      const { value, grads } = valueAndGrads(() => ({ loss: loss() }), weights);
      state.optimizer.apply(grads, 0.1);
      state.ema.update();
      return value;
    };
    const { memory } = plan(step, [{ shape: [8, 64] }]);
    // Weight, two moments, average, and the number of steps; sums are not used.
    expect(memory.variables).toBe(4 * 4 * 64 * 32 + 4);
    expect(memory.inputs).toBe(4 * 8 * 64);
    expect(memory.outputs).toBe(4);
  });
});

describe('work', () => {
  test('of products and their gradients', () => {
    const product = (a: tf.Tensor, b: tf.Tensor) => tf.matMul(a as tf.Tensor2D, b as tf.Tensor2D, true);
    expect(plan(product, [{ shape: [5, 3] }, { shape: [5, 7] }]).flops).toBe(2 * 3 * 5 * 7);
    const batched = (a: tf.Tensor, b: tf.Tensor) => tf.matMul(a, b, false, true);
    expect(plan(batched, [{ shape: [4, 3, 5] }, { shape: [4, 7, 5] }]).flops).toBe(2 * 4 * 3 * 5 * 7);
    const gradient = (a: tf.Tensor, b: tf.Tensor) => tf.grads((p: tf.Tensor, q: tf.Tensor) => tf.sum(product(p, q)))([a, b]);
    expect(plan(gradient, [{ shape: [5, 3] }, { shape: [5, 7] }]).flops).toBe(3 * 2 * 3 * 5 * 7);
  });

  test('of convolutions and their gradients', () => {
    const convolve = (x: tf.Tensor, w: tf.Tensor) => conv2d(x, w);
    const inputs = [{ shape: [2, 8, 8, 6] }, { shape: [3, 3, 6, 10] }];
    const one = 2 * (2 * 8 * 8 * 10) * (3 * 3 * 6);
    expect(plan(convolve, inputs).flops).toBe(one);
    const gradient = (x: tf.Tensor, w: tf.Tensor) => tf.grads((p: tf.Tensor, q: tf.Tensor) => tf.sum(convolve(p, q)))([x, w]);
    expect(plan(gradient, inputs).flops).toBeGreaterThanOrEqual(2 * one);
    expect(plan(gradient, inputs).flops).toBeLessThanOrEqual(3 * one);
  });

  test('grows with the load of the fullest part where parts are padded to it', () => {
    const padded = (x: tf.Tensor, labels: tf.Tensor) => {
      const backend = tensorFlowBackend()!;
      const most = tf.max(bincount(labels, 4));
      const rows = backend.raw('Slice', [x, tf.tensor1d([0, 0], 'int32'), tf.stack([most, tf.scalar(8, 'int32')])])[0];
      return backend.raw('MatMul', [rows, tf.ones([8, 8])])[0];
    };
    const inputs = [{ shape: [64, 8] }, { shape: [64], dtype: 'int32' as const }];
    expect(plan(padded, inputs).flops).toBe(2 * 16 * 8 * 8);
    expect(plan(padded, inputs, { maxOverMean: 3 }).flops).toBe(2 * 48 * 8 * 8);
  });
});

test('a step of any size is planned, and nothing of it stays', () => {
  const [tensors, handles] = [tf.memory().numTensors, runtime.numTensors()];
  const set = declared(() => ParameterSet.create({ w: { shape: [500_000, 500_000], initial: { kind: 'normal', std: 1 } } }, 0));
  const found = plan((x: tf.Tensor) => tf.matMul(x as tf.Tensor2D, set.parameters['w'].read() as tf.Tensor2D), [{ shape: [10, 500_000] }]);
  expect(found).toMatchObject({ flops: 5e12, memory: { variables: 1e12, outputs: 2e7 } });
  expect(found.largest[0]).toEqual({ op: 'BatchMatMulV2', shape: [10, 500_000], bytes: 2e7 });
  set.dispose();
  expect(tf.memory().numTensors).toBe(tensors);
  expect(runtime.numTensors()).toBe(handles);
});

test('is for the TensorFlow runtime', async () => {
  await tf.setBackend('cpu');
  expect(() => plan((x: tf.Tensor) => x, [{ shape: [1] }])).toThrow(/TensorFlow runtime/);
  await tf.setBackend('tensorflow');
});
