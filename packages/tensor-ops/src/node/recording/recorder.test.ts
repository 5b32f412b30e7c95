import * as tf from '@tensorflow/tfjs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { AdamW, bincount, compile, DataType, Ema, mean, Parameter, ParameterSet, tensorFlowBackend, valueAndGrads } from '../../index.js';
import type { TensorFlowNodeBackend } from '../backend.js';
import { type TensorFlowRuntime, useTensorFlow } from '../index.js';
import { partsOf } from './examples.js';

let runtime: TensorFlowRuntime;
let backend: TensorFlowNodeBackend;
beforeAll(async () => {
  runtime = await useTensorFlow();
  backend = tensorFlowBackend() as unknown as TensorFlowNodeBackend;
});
afterAll(() => runtime.shutdown());

/** What a step becomes. */
function recorded(step: (...xs: tf.Tensor[]) => tf.Tensor[], inputs: tf.Tensor[], maxOverMean?: number) {
  const { recorder, outputs } = backend.record(step, inputs, maxOverMean);
  recorder.releaseCaptures();
  recorder.free();
  return { nodes: recorder.nodes, ops: recorder.nodes.map(({ op }) => op), outputs };
}

describe('tensors of the enclosing scope', () => {
  test('become arguments, also when no op has taken them before', () => {
    const [used, fresh] = [tf.add(tf.tensor1d([1, 2]), 1), tf.tensor1d([5, 6])];
    const { nodes } = recorded((x) => [tf.add(tf.mul(x, used), fresh)], [tf.tensor1d([3, 4])]);
    expect(nodes.filter(({ argument }) => argument === 'captured')).toHaveLength(2);
    expect(nodes.filter(({ op }) => op === 'Const')).toHaveLength(0);
    const step = compile((x: tf.Tensor) => tf.add(tf.mul(x, used), fresh));
    expect(step.runSync(tf.tensor1d([3, 4])).arraySync()).toEqual([11, 18]);
    expect(fresh.arraySync()).toEqual([5, 6]);
    step.dispose();
  });

  test('made inside are constants', () => {
    const { nodes, ops } = recorded((x) => [tf.add(x, tf.tensor1d([5, 6]))], [tf.tensor1d([3, 4])]);
    expect(ops).toEqual(['Placeholder', 'Const', 'Add', 'Identity']);
    expect(nodes.map(({ argument }) => argument)).toEqual(['input', undefined, undefined, undefined]);
  });

  test('kept from a recording have no values; using one says so, disposing of it does nothing', () => {
    let leaked: tf.Tensor | undefined;
    const step = compile((x: tf.Tensor) => {
      leaked = tf.keep(tf.mul(x, 2));
      return tf.add(leaked, 1);
    });
    expect(step.runSync(tf.scalar(3)).dataSync()[0]).toBe(7);
    for (const use of [
      () => leaked!.dataSync(),
      () => tf.add(leaked!, 1),
      () => compile((x: tf.Tensor) => tf.add(x, leaked!)).runSync(tf.scalar(1)),
    ])
      expect(use).toThrow(expect.objectContaining({ code: 'E_RECORDING' }));
    const handles = runtime.numTensors();
    leaked!.dispose();
    expect(runtime.numTensors()).toBe(handles);
    expect(tf.add(tf.scalar(1), 1).dataSync()[0]).toBe(2);
    step.dispose();
  });
});

describe('shapes that depend on data', () => {
  const parts = (x: tf.Tensor, counts: tf.Tensor): tf.Tensor[] =>
    backend.raw('SplitV', [x, counts, tf.scalar(0, 'int32')], { num_split: { int: 3 } }, 3);

  test('are open in the graph, with examples that follow from the sizes of parts', () => {
    const [x, labels] = [tf.zeros([12, 2]), tf.tensor1d([0, 0, 1, 2, 2, 2, 0, 0, 1, 2, 2, 2], 'int32')];
    const shapes = (maxOverMean: number) =>
      recorded((rows, of) => parts(rows, bincount(of, 3)), [x, labels], maxOverMean).outputs.map(({ dims, shape }) => [dims, shape]);
    expect(shapes(1)).toEqual([
      [
        [-1, 2],
        [4, 2],
      ],
      [
        [-1, 2],
        [4, 2],
      ],
      [
        [-1, 2],
        [4, 2],
      ],
    ]);
    expect(shapes(2).map(([, shape]) => shape)).toEqual([
      [8, 2],
      [2, 2],
      [2, 2],
    ]);
  });

  test('one recording runs for all of them', () => {
    const step = compile((rows: tf.Tensor, of: tf.Tensor) => parts(rows, bincount(of, 3)).map((part) => tf.mul(part, 2)));
    const x = tf.tensor2d([1, 2, 3, 4, 5], [5, 1]);
    for (const [labels, sizes] of [
      [
        [0, 0, 1, 1, 2],
        [2, 2, 1],
      ],
      [
        [1, 1, 1, 1, 1],
        [0, 5, 0],
      ],
    ])
      expect(step.runSync(x, tf.tensor1d(labels, 'int32')).map(({ shape }) => shape[0])).toEqual(sizes);
    expect(step.traces).toBe(1);
    step.dispose();
  });

  test('parts sum to the whole', () => {
    expect(partsOf(12, 3, 1)).toEqual([4, 4, 4]);
    expect(partsOf(12, 4, 3)).toEqual([9, 1, 1, 1]);
    for (const [whole, count, uneven] of [
      [7, 3, 1],
      [5, 8, 1],
      [100, 7, 3],
      [3, 1, 3],
      [0, 4, 1],
    ]) {
      const all = partsOf(whole, count, uneven);
      expect(all.reduce((a, b) => a + b)).toBe(whole);
      expect(Math.min(...all)).toBeGreaterThanOrEqual(0);
    }
  });

  test('a result of unknown rank is an error for whoever takes it', () => {
    const lost = (x: tf.Tensor) =>
      backend.raw('ParseTensor', [backend.raw('SerializeTensor', [x])[0]], { out_type: { type: DataType.float32 } })[0];
    expect(() => recorded((x) => [tf.add(lost(x), 1)], [tf.scalar(1)])).toThrow(expect.objectContaining({ code: 'E_RECORDING' }));
  });
});

test('a step is recorded and turned into a function before its weights have values, and without running an op', () => {
  // 4 * 10^12 numbers: nothing of this size could be allocated.
  const huge = new Parameter('huge', [2_000_000, 2_000_000]);
  const small = ParameterSet.declare({ w: { shape: [3, 2], initial: { kind: 'zeros' } } });
  const { outputs } = recorded((x) => [tf.matMul(x as tf.Tensor2D, huge.read() as tf.Tensor2D)], [tf.zeros([1, 2_000_000])]);
  expect(outputs[0].shape).toEqual([1, 2_000_000]);
  const step = compile((x: tf.Tensor) => tf.matMul(x as tf.Tensor2D, small.parameters['w'].read() as tf.Tensor2D));
  expect(() => step.runSync(tf.ones([1, 3]))).toThrow(/w#/);
  small.parameters['w'].assign(tf.ones([3, 2]));
  expect(step.runSync(tf.ones([1, 3])).arraySync()).toEqual([[3, 3]]);
  expect(step.traces).toBe(1);
  step.dispose();
  small.dispose();
  huge.dispose();
});

test('a write waits for what computes with the value read before, also through views, but not for what nobody needs', () => {
  const [first, second] = ['first', 'second'].map((name) => new Parameter(name, tf.ones([4])));
  const { nodes } = recorded(() => {
    const value = second.read();
    const [half] = tf.split(tf.reshape(value, [2, 2]), 2);
    tf.sqrt(value);
    const used = tf.exp(half);
    first.assign(tf.reshape(tf.concat([used, used]), [4]));
    second.assign(tf.zeros([4]));
    return [];
  }, []);
  const write = nodes.findLast(({ op }) => op === 'AssignVariableOp')!;
  const before = write.control.map((node) => nodes[node].op);
  expect(before).toContain('Exp');
  expect(before).toContain('ReadVariableOp');
  expect(before).not.toContain('Sqrt');
  for (const parameter of [first, second]) parameter.dispose();
});

test('gradients, optimizer and average of a recorded step equal those of ops that run one by one', async () => {
  const specs = { w: { shape: [4, 3], initial: { kind: 'uniform', limit: 1 } }, b: { shape: [3], initial: { kind: 'ones' } } } as const;
  const make = () => {
    const set = ParameterSet.create({ w: { ...specs.w, shape: [4, 3] }, b: { ...specs.b, shape: [3] } }, 1);
    const [optimizer, ema] = [new AdamW(set.parameters), new Ema(set.parameters, 0.9)];
    const step = (x: tf.Tensor): tf.Tensor => {
      const weights = set.read();
      const { value, grads } = valueAndGrads(
        () => ({
          loss: mean(
            tf.reshape(tf.square(tf.tanh(tf.add(tf.matMul(x as tf.Tensor2D, weights['w'] as tf.Tensor2D), weights['b']))), [-1]),
            0,
          ) as tf.Scalar,
        }),
        weights,
      );
      optimizer.apply(grads, 0.1);
      ema.update();
      return value;
    };
    return { step, state: { ...set.parameters, ...optimizer.state, ...ema.averages.parameters } };
  };
  const [eager, compiled] = [make(), make()];
  const step = compile(compiled.step);
  for (let i = 0; i < 3; i++) {
    const x = tf.randomNormal([5, 4], 0, 1, 'float32', i);
    expect(step.runSync(x).dataSync()).toEqual(tf.tidy(() => eager.step(x)).dataSync());
  }
  for (const [name, parameter] of Object.entries(compiled.state))
    expect(await parameter.data(), name).toEqual(await (eager.state as Record<string, Parameter>)[name].data());
  step.dispose();
});
