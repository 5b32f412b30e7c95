import * as tf from '@tensorflow/tfjs';
import { beforeEach, expect, test } from 'vitest';
import { compile } from '../compile.js';
import type { TensorFlowNodeBackend } from '../node/backend.js';
import { useTensorFlow } from '../node/index.js';
import { DataType, type ElementwiseChain, type TensorFlowBackend, tensorFlowBackend } from '../tensorflow-backend.js';
import { geluActivation, geluActivationGradients, swigluActivation, swigluActivationGradients } from './activation.js';
import { fused } from './fused.js';

// One of the tests shuts the runtime down.
beforeEach(async () => {
  await useTensorFlow();
});

const inputs = (count: number, shape: number[]) =>
  Array.from({ length: count }, (_, i) => tf.randomNormal(shape, 0, 2, 'float32', i + 1)) as [tf.Tensor, tf.Tensor, tf.Tensor];
const cast = (backend: TensorFlowBackend, x: tf.Tensor, type: DataType) => backend.raw('Cast', [x], { DstT: { type } })[0];

/** Of any type; `fused` makes kernels for bfloat16 alone. */
const kernel = (chain: ElementwiseChain, xs: tf.Tensor[]): tf.Tensor[] => tensorFlowBackend()!.fused(chain, xs);

test.each([
  [swigluActivation, 2],
  [swigluActivationGradients, 3],
  [geluActivation, 1],
  [geluActivationGradients, 2],
] as const)('%o as one kernel gives what its ops give, for every shape', (chain, count) => {
  const step = compile((...xs: tf.Tensor[]) => kernel(chain, xs));
  for (const shape of [
    [7, 5],
    [64, 33],
    [0, 5],
  ]) {
    const xs = inputs(count, shape);
    const wanted = (chain as (...xs: tf.Tensor[]) => tf.Tensor[])(...xs);
    step.runSync(...xs).forEach((actual, i) => {
      // Float32; products of values up to about 100.
      expect(actual).toBeCloseTensor(wanted[i], 1e-6);
    });
  }
  step.dispose();
});

test('results have the type of the first input: bfloat16 within one rounding', () => {
  const backend = tensorFlowBackend()!;
  const exact = inputs(3, [40, 16]);
  const step = compile((...xs: tf.Tensor[]) => {
    const low = xs.map((x) => cast(backend, x, DataType.bfloat16));
    const values = fused(swigluActivationGradients, low);
    expect(values.map((value) => backend.dtypeOf(value))).toEqual([DataType.bfloat16, DataType.bfloat16, DataType.bfloat16]);
    return values.map((value) => cast(backend, value, DataType.float32));
  });
  const rounded = exact.map((x) => cast(backend, cast(backend, x, DataType.bfloat16), DataType.float32)) as typeof exact;
  const wanted = swigluActivationGradients(...rounded);
  step.runSync(...exact).forEach((actual, i) => {
    // 8 bits of mantissa, and the absolute floor of what cancels.
    const excess = tf.sub(tf.abs(tf.sub(actual, wanted[i])), tf.add(tf.mul(tf.abs(wanted[i]), 2 ** -8), 1e-6));
    expect(tf.max(excess).dataSync()[0]).toBeLessThanOrEqual(0);
  });
  step.dispose();
});

test('inside a step its kernel is one op, used again by later steps, and what is around it is recorded as before', () => {
  const backend = tensorFlowBackend()!;
  const kernelsIn = (step: (x: tf.Tensor) => tf.Tensor[], x: tf.Tensor): number => {
    const { recorder } = (backend as unknown as TensorFlowNodeBackend).record(step as (...xs: tf.Tensor[]) => tf.Tensor[], [x]);
    recorder.free();
    return recorder.nodes.filter(({ op }) => op === 'StatefulPartitionedCall').length;
  };
  expect(kernelsIn((x) => fused(halves, [x]), tf.tensor1d([4]))).toBe(0); // float32
  const x = tf.tensor1d([-1, 0, 2]);
  const wanted = tf.add(geluActivation(tf.mul(x, 3))[0], 1).dataSync();
  const inside = (input: tf.Tensor): tf.Tensor[] => [tf.add(kernel(geluActivation, [tf.mul(input, 3)])[0], 1)];
  for (let i = 0; i < 2; i++) {
    expect(kernelsIn(inside, x)).toBe(1);
    const step = compile(inside);
    expect(Array.from(step.runSync(x)[0].dataSync())).toEqual(Array.from(wanted, (v) => expect.closeTo(v, 5)));
    step.dispose();
  }
});

test('a chain that fails leaves no recording behind', () => {
  const failing = (): tf.Tensor[] => {
    throw new Error('no value');
  };
  const step = compile((x: tf.Tensor) => kernel(failing, [x]));
  expect(() => step.runSync(tf.scalar(1))).toThrow('no value');
  expect(tensorFlowBackend()!.recording).toBe(false);
  expect(tf.add(tf.scalar(1), 1).dataSync()[0]).toBe(2);
  step.dispose();
});

test('where TensorFlow cannot compile a chain, its ops run one by one', async () => {
  const { shutdown } = await useTensorFlow();
  const backend = tensorFlowBackend()!;
  const compileStep = backend.compileStep.bind(backend);
  // Strings cannot be compiled, as nothing can in a build without XLA.
  backend.compileStep = (chain, xs, options) =>
    options.xla ? compileStep((x) => [backend.raw('AsString', [x])[0]], xs, options) : compileStep(chain, xs, options);
  const step = compile((x: tf.Tensor) => kernel(halves, [x]));
  expect(step.runSync(tf.tensor1d([1, 2]))[0].dataSync()).toEqual(Float32Array.of(0.5, 1));
  await shutdown();
});

const halves = (x: tf.Tensor): tf.Tensor[] => [tf.mul(x, 0.5)];
