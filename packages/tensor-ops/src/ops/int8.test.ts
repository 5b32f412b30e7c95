/** Products in int8: against integer arithmetic on the host, and the TensorFlow runtime against the portable reference. */
import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import { fill } from '../../../../testing/fill.js';
import { compile } from '../compile.js';
import { useTensorFlow } from '../node/index.js';
import { tensorFlowBackend } from '../tensorflow-backend.js';
import { dequantizeMatrix, int8Product, int8Refusal, int8Tensor, linear, quantizeMatrix, quantizeRows, swiglu } from './index.js';

let refusal: string | undefined;
beforeAll(async () => {
  await useTensorFlow();
  refusal = int8Refusal();
});

/** Computes on both backends; the runtime's results are left out where the processor has no int8. */
async function onBoth(compute: () => tf.Tensor): Promise<{ reference: Float32Array; runtime: Float32Array | undefined }> {
  const on = async (backend: string): Promise<Float32Array> => {
    await tf.setBackend(backend);
    return tf.tidy(() => compute().dataSync() as Float32Array);
  };
  const reference = await on('cpu');
  const runtime = refusal === undefined ? await on('tensorflow') : undefined;
  await tf.setBackend('tensorflow');
  return { reference, runtime };
}

const integers = (size: number, salt: number): Int8Array =>
  Int8Array.from({ length: size }, (_, i) => ((i * 7919 + salt * 104729) % 255) - 127);

describe('matrices', () => {
  test('every number is within half a step of its channel, and the largest of a channel is exact', () => {
    const shape = [3, 5, 4];
    const data = Float32Array.from(fill(shape, 1).dataSync());
    const { values, scale } = quantizeMatrix(data, shape);
    expect(scale).toHaveLength(3 * 4);
    const back = dequantizeMatrix({ values, scale }, shape);
    for (let m = 0; m < 3; m++)
      for (let o = 0; o < 4; o++) {
        const channel = Array.from({ length: 5 }, (_, i) => (m * 5 + i) * 4 + o);
        const largest = Math.max(...channel.map((at) => Math.abs(data[at])));
        expect(scale[m * 4 + o]).toBeCloseTo(largest / 127, 6);
        for (const at of channel) expect(Math.abs(back[at] - data[at])).toBeLessThanOrEqual(1.001 * (largest / 254));
        expect(Math.max(...channel.map((at) => Math.abs(values[at])))).toBe(127);
      }
  });

  test('a channel of zeros stays zero', () => {
    const { values, scale } = quantizeMatrix(new Float32Array(6), [3, 2]);
    expect([...values]).toEqual([0, 0, 0, 0, 0, 0]);
    expect([...dequantizeMatrix({ values, scale }, [3, 2])]).toEqual([0, 0, 0, 0, 0, 0]);
  });

  test.each([[[4, 3]], [[3, 3]], [[2, 5, 3]]])('%j goes to the device and back, whole or not in words of four', async (shape) => {
    const given = integers(shape.reduce((a, b) => a * b, 1) + 1, 3).subarray(1);
    const { reference, runtime } = await onBoth(() => {
      const on = int8Tensor(given, shape);
      expect(on.shape).toEqual(shape);
      return tensorFlowBackend() === undefined ? on : tensorFlowBackend()!.raw('Cast', [on], { DstT: { type: 1 } })[0];
    });
    expect([...reference]).toEqual([...given]);
    if (runtime !== undefined) expect([...runtime]).toEqual([...given]);
  });
});

describe('rows', () => {
  test('both backends give the same integers, also in a compiled step', async () => {
    const x = () => tf.concat([fill([6, 9], 2), tf.zeros([1, 9]), tf.tensor2d([[127, -127, 63.5, 62.5, 0.5, 1.5, -0.5, -1.5, 2.5]])]);
    const compute = (rows: tf.Tensor): tf.Tensor => {
      const { values, scale } = quantizeRows(rows);
      const wide = tensorFlowBackend()?.raw('Cast', [values], { DstT: { type: 1 } })[0] ?? values;
      return tf.concat([wide, scale], 1);
    };
    const { reference, runtime } = await onBoth(() => compute(x()));
    expect(reference.slice(-10).map((v) => v + 0)).toEqual(Float32Array.of(127, -127, 64, 62, 0, 2, 0, -2, 2, 1));
    expect([...reference.slice(60, 69)].every((v) => v === 0)).toBe(true);
    if (runtime === undefined) return;
    expect(runtime.map((v) => v + 0)).toEqual(reference.map((v) => v + 0));
    const step = compile(compute);
    expect(step.runSync(x()).dataSync()).toEqual(runtime);
    step.dispose();
  });

  test('what is not finite does not get lost', async () => {
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY]) {
      const { runtime } = await onBoth(() =>
        linear(tf.tensor2d([[1, bad, 2]]), int8Tensor(integers(6, 1), [3, 2]), undefined, { scale: tf.ones([2]) }),
      );
      if (runtime !== undefined) expect([...runtime].some(Number.isFinite)).toBe(false);
    }
  });
});

describe('products', () => {
  test.each([
    [7, 33, 5],
    [1, 64, 16],
    [0, 8, 4],
    [3, 1000, 9],
  ])('%i x %i x %i is exact on both backends', async (rows, inner, columns) => {
    const [a, w] = [integers(rows * inner, 1), integers(inner * columns, 2)];
    const scale = Float32Array.from({ length: columns }, (_, o) => 2 ** -(o % 5));
    const wanted = Float32Array.from({ length: rows * columns }, (_, at) => {
      const [r, o] = [Math.floor(at / columns), at % columns];
      let sum = 0;
      for (let i = 0; i < inner; i++) sum += a[r * inner + i] * w[i * columns + o];
      return sum * scale[o];
    });
    const compute = () =>
      int8Product({ values: int8Tensor(a, [rows, inner]), scale: tf.ones([rows, 1]) }, int8Tensor(w, [inner, columns]), tf.tensor1d(scale));
    const { reference, runtime } = await onBoth(compute);
    expect(reference).toEqual(wanted);
    if (runtime !== undefined) expect(runtime).toEqual(wanted);
  });

  const quantized = (shape: number[], salt: number) => {
    const { values, scale } = quantizeMatrix(fill(shape, salt).dataSync() as Float32Array, shape);
    return { w: int8Tensor(values, shape), scale: tf.tensor(scale, [...shape.slice(0, -2), shape.at(-1)!]) };
  };
  const layers = {
    linear: (exact: boolean) => {
      const [x, b] = [fill([2, 5, 24], 1), fill([7], 2)];
      const { w, scale } = quantized([24, 7], 3);
      return exact ? linear(x, fill([24, 7], 3), b) : linear(x, w, b, { scale });
    },
    swiglu: (exact: boolean) => {
      const x = fill([6, 24], 1);
      const [up, down] = [quantized([2, 24, 16], 2), quantized([16, 24], 3)];
      if (exact) return swiglu(x, fill([2, 24, 16], 2), fill([16, 24], 3));
      return swiglu(x, up.w, down.w, { scales: { gateUp: up.scale, down: down.scale } });
    },
  };
  test.each(Object.entries(layers))('%s is near float32, and the runtime near the reference', async (_, layer) => {
    const exact = (await onBoth(() => layer(true))).reference;
    const { reference, runtime } = await onBoth(() => layer(false));
    const largest = Math.max(...exact.map(Math.abs));
    expect(reference).toBeCloseTensor(exact, 0.03 * largest);
    expect(reference).not.toBeCloseTensor(exact, 1e-4 * largest);
    if (runtime !== undefined) expect(runtime).toBeCloseTensor(reference, 1e-5 * largest);
  });

  test('a gradient is refused', () => {
    void tf.setBackend('cpu');
    const { w, scale } = quantized([24, 7], 3);
    expect(() => tf.grad((x: tf.Tensor) => tf.sum(linear(x, w, undefined, { scale })))(fill([2, 24], 1))).toThrow(
      /int8.*inference.*gradient/,
    );
    void tf.setBackend('tensorflow');
  });
});

test('where it cannot be had, a reason is given', async () => {
  const backend = tensorFlowBackend()!;
  const here = backend.int8Products;
  Object.assign(backend, { int8Products: false });
  expect(int8Refusal()).toMatch(/no instructions/);
  Object.assign(backend, { int8Products: here });
  await tf.setBackend('cpu');
  expect(int8Refusal()).toMatch(/only the TensorFlow runtime/);
  await tf.setBackend('tensorflow');
});
