/**
 * Every differentiable op: gradients against central differences on the cpu backend, then values and gradients of the wasm
 * backend and the TensorFlow runtime against the cpu backend.
 */
import '@tensorflow/tfjs-backend-wasm';
import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, test, vi } from 'vitest';
import { numbers } from '../../../../testing/fill.js';
import { compile } from '../compile.js';
import { bf16Cases, evaluateCase as evaluate, type OpCase, opCases } from '../conformance/index.js';
import { useTensorFlow } from '../node/index.js';
import { Parameter } from '../parameter.js';
import { tensorFlowBackend } from '../tensorflow-backend.js';
import * as ops from './index.js';

beforeAll(async () => {
  await useTensorFlow();
});

describe.each(Object.entries(opCases))('%s', (_, c) => {
  const inputs = c.shapes.map((shape, i) => numbers(shape, i));

  test('gradients equal central differences', () => {
    void tf.setBackend('cpu');
    const before = tf.memory().numTensors;
    const { grads } = evaluate(c, inputs);
    // Float32 differences of step 1e-2 are exact to about 1e-3 for functions of this curvature.
    const step = 1e-2;
    inputs.forEach((input, i) => {
      for (let j = 0; j < input.length; j++) {
        const at = (delta: number) =>
          evaluate(
            c,
            inputs.map((x, k) => (k === i ? x.map((v, l) => (l === j ? v + delta : v)) : x)),
          ).value;
        expect(Math.abs((at(step) - at(-step)) / (2 * step) - grads[i][j])).toBeLessThan(5e-3);
      }
    });
    expect(tf.memory().numTensors).toBe(before);
  });

  test.each(['wasm', 'tensorflow'])('%s agrees with cpu', async (backend) => {
    await tf.setBackend('cpu');
    const expected = evaluate(c, inputs);
    await tf.setBackend(backend);
    const before = tf.memory().numTensors;
    const actual = evaluate(c, inputs);
    expect(tf.memory().numTensors).toBe(before);
    expect(actual.output).toBeCloseTensor(expected.output, 1e-5);
    actual.grads.forEach((g, i) => {
      expect(g).toBeCloseTensor(expected.grads[i], 2e-5);
    });
  });
});

test.each(['wasm', 'tensorflow'])('attention of long sequences on %s agrees with cpu', async (backend) => {
  const shape = [1, 2, 64, 32];
  const c: OpCase = { shapes: [shape, shape, shape], run: (q, k, v) => ops.attention(q, k, v) };
  const inputs = c.shapes.map((_, i) => numbers(shape, i));
  await tf.setBackend('cpu');
  const expected = evaluate(c, inputs);
  await tf.setBackend(backend);
  const actual = evaluate(c, inputs);
  expect(actual.output).toBeCloseTensor(expected.output, 1e-5);
  for (const [i, grad] of actual.grads.entries()) expect(grad).toBeCloseTensor(expected.grads[i], 2e-5);
});

describe('attention keeps no probabilities', () => {
  const [batch, heads, length, size] = [1, 2, 64, 4] as const;
  const probabilities = batch * heads * length * length;

  test('for the backward pass', () => {
    void tf.setBackend('cpu');
    tf.tidy(() => {
      const inputs = [0, 1, 2].map((salt) => tf.tensor(numbers([batch, heads, length, size], salt), [batch, heads, length, size]));
      let kept = 0;
      const grads = tf.grads((q: tf.Tensor, k: tf.Tensor, v: tf.Tensor) => {
        const before = tf.memory().numBytes;
        const y = ops.attention(q, k, v);
        kept = tf.memory().numBytes - before;
        return tf.sum(y);
      })(inputs);
      expect(grads.length).toBe(3);
      // q times its scale, k, v and the result, kept, and the result itself: tfjs counts tensors, also where they share data.
      expect(kept).toBe(5 * 4 * batch * heads * length * size);
      expect(kept).toBeLessThan(4 * probabilities);
    });
  });

  test('larger than a chunk, forward and backward', async () => {
    await tf.setBackend('cpu');
    const inputs = [0, 1, 2].map((salt) => tf.tensor(numbers([batch, heads, length, size], salt), [batch, heads, length, size]));
    const largest = async (queriesPerChunk?: number) => {
      const { kernels } = await tf.profile(() =>
        tf.grads((q: tf.Tensor, k: tf.Tensor, v: tf.Tensor) => tf.sum(ops.attention(q, k, v, { queriesPerChunk })))(inputs),
      );
      return Math.max(...kernels.flatMap(({ outputShapes }) => outputShapes.map((shape) => tf.util.sizeFromShape(shape))));
    };
    expect(await largest()).toBe(probabilities);
    expect(await largest(8)).toBe(probabilities / 8);
    tf.dispose(inputs);
  });

  test('above a size without being asked', () => {
    void tf.setBackend('tensorflow');
    const backend = tensorFlowBackend()!;
    const raw = vi.spyOn(backend, 'raw');
    // 1 x 1 x 8200 x 8200 is a little more than the 2^26 that are computed at once.
    tf.tidy(() => {
      const q = tf.tensor(numbers([1, 1, 8200, 1], 0), [1, 1, 8200, 1]);
      ops.attention(q, q, q);
    });
    const sizes = raw.mock.results.flatMap(({ value }) => (value as tf.Tensor[]).map((x) => x.size));
    raw.mockRestore();
    expect(Math.max(...sizes)).toBeGreaterThan(2 ** 25);
    expect(Math.max(...sizes)).toBeLessThanOrEqual(2 ** 26);
  });
});

test('one recording serves every number of rows, with products of either type', () => {
  void tf.setBackend('tensorflow');
  const step = compile((x: tf.Tensor, counts: tf.Tensor) => {
    const total = tf.sum(counts);
    const parts = ops.partsOf(counts);
    const { round, product } = ops.products(x, 'bf16');
    const rows = round(ops.firstRows(x, total));
    const twice = ops.splitRows(rows, parts).map((part, i) => product(part, round(tf.mul(tf.eye(2), i + 1))));
    return {
      sum: tf.sum(ops.widen(ops.joinRows(twice))),
      count: ops.rowCount(rows),
      range: tf.sum(ops.rangeTo(tf.cast(total, 'float32'))),
    };
  });
  const backend = tensorFlowBackend()!;
  const chosen = backend.bf16Products;
  const x = tf.ones([6, 2]);
  for (const low of [false, true]) {
    backend.bf16Products = low;
    for (const counts of [
      [1, 2],
      [0, 5],
      [0, 0],
      [6, 0],
    ] as const) {
      const { sum, count, range } = step.runSync(x, tf.tensor1d([...counts], 'int32'));
      const rows = counts[0] + counts[1];
      expect(sum.dataSync()[0]).toBe(2 * (counts[0] + 2 * counts[1]));
      expect(count.dataSync()[0]).toBe(rows);
      expect(range.dataSync()[0]).toBe(rows === 0 ? 0 : (rows * (rows - 1)) / 2);
    }
  }
  backend.bf16Products = chosen;
  expect(step.traces).toBe(1);
  step.dispose();
});

describe('on the TensorFlow runtime', () => {
  test.each(Object.entries(bf16Cases))('%s in bf16 is near float32, with float32 gradients', (_, c) => {
    const inputs = c.shapes.map((shape, i) => numbers(shape, i));
    void tf.setBackend('cpu');
    const expected = evaluate(c, inputs);
    void tf.setBackend('tensorflow');
    const backend = tensorFlowBackend()!;
    const chosen = backend.bf16Products;
    backend.bf16Products = false;
    const exact = evaluate(c, inputs);
    backend.bf16Products = true;
    const actual = evaluate(c, inputs);
    backend.bf16Products = chosen;
    // A processor without fast bfloat16 computes in float32.
    expect(exact.output).toBeCloseTensor(expected.output, 1e-5);
    // bfloat16 keeps 8 bits: 2^-8 relative per rounded operand of sums of up to 16 terms.
    expect(actual.output).toBeCloseTensor(expected.output, 0.06);
    expect(actual.output).not.toBeCloseTensor(expected.output, 0);
    actual.grads.forEach((g, i) => {
      expect(g).toBeCloseTensor(expected.grads[i], 0.2);
    });
  });
});

describe.each(['cpu', 'wasm', 'tensorflow'])('without gradients on %s', (backend) => {
  beforeAll(async () => {
    await tf.setBackend(backend);
  });

  test('sorting is stable, counting exact', async () => {
    await tf.setBackend(backend);
    const x = tf.tensor1d([3, 1, 3, 0, 1], 'int32');
    expect(ops.argsort(x).arraySync()).toEqual([3, 1, 4, 0, 2]);
    expect(ops.invertPermutation(ops.argsort(x)).arraySync()).toEqual([3, 1, 4, 0, 2]);
    expect(ops.bincount(x, 5).arraySync()).toEqual([1, 2, 0, 2, 0]);
    expect(ops.topK(tf.tensor1d([1, 4, 4, 2]), 3).indices.arraySync()).toEqual([1, 2, 3]);
  });

  test('rows by number: taken, counted, cut, joined and split', async () => {
    await tf.setBackend(backend);
    const before = tf.memory().numTensors;
    tf.tidy(() => {
      const x = tf.tensor2d([0, 1, 2, 3, 4, 5], [3, 2]);
      const two = tf.scalar(2, 'int32');
      expect(ops.takeRows(x, tf.tensor1d([2, 0, 2], 'int32')).arraySync()).toEqual([
        [4, 5],
        [0, 1],
        [4, 5],
      ]);
      expect(ops.firstRows(x, two).dataSync()).toEqual(Float32Array.of(0, 1, 2, 3));
      expect(ops.firstColumns(x, tf.scalar(1, 'int32')).dataSync()).toEqual(Float32Array.of(0, 2, 4));
      expect(ops.firstRows(tf.tensor1d([7, 8, 9], 'int32'), two).dataSync()).toEqual(Int32Array.of(7, 8));
      expect(ops.rowCount(x).dataSync()[0]).toBe(3);
      expect(ops.rangeTo(tf.scalar(3)).dataSync()).toEqual(Float32Array.of(0, 1, 2));
      expect(ops.rangeTo(2).dataSync()).toEqual(Float32Array.of(0, 1));
      const parts = ops.partsOf(tf.tensor1d([1, 0, 2], 'int32'));
      const split = ops.splitRows(x, parts);
      expect(parts.present.map((part, i) => [part, Array.from(split[i].dataSync())]).filter(([, rows]) => (rows as []).length > 0)).toEqual(
        [
          [0, [0, 1]],
          [2, [2, 3, 4, 5]],
        ],
      );
      expect(ops.joinRows(split).arraySync()).toEqual(x.arraySync());
      expect(
        ops.splitRows(tf.zeros([0, 2]), ops.partsOf(tf.tensor1d([0, 0], 'int32'))).flatMap((part) => Array.from(part.dataSync())),
      ).toEqual([]);
      const stacked = ops.stackRows(ops.unstackRows(x, 1), 1);
      expect(ops.reshapeRows(stacked, [-1, 3]).arraySync()).toEqual([
        [0, 1, 2],
        [3, 4, 5],
      ]);
      const counts = new Parameter('counts', tf.zeros([3]));
      counts.addAt(tf.tensor1d([2, 0, 2], 'int32'), tf.tensor1d([1, 2, 3]));
      expect(counts.read().dataSync()).toEqual(Float32Array.of(2, 0, 4));
      counts.dispose();
    });
    expect(tf.memory().numTensors).toBe(before);
  });

  // torch.nn.functional.interpolate of the same image.
  test.each<[string, ops.ResizeOptions, number[]]>([
    ['bilinear', {}, [1, 2.2, 4, 2.8, 2, 4.5, 4.5, 4.5, 4.5, 4.5, 8, 6.8, 5, 6.2, 7]],
    ['bilinear, align_corners', { centres: 'align-corners' }, [1, 2.5, 4, 3, 2, 4.5, 4.5, 4.5, 4.5, 4.5, 8, 6.5, 5, 6, 7]],
    ['nearest', { method: 'nearest', centres: 'tf1' }, [1, 1, 4, 4, 2, 1, 1, 4, 4, 2, 8, 8, 5, 5, 7]],
    ['nearest-exact', { method: 'nearest' }, [1, 1, 4, 2, 2, 8, 8, 5, 7, 7, 8, 8, 5, 7, 7]],
  ])("resizeImages equals PyTorch's %s", async (_, options, expected) => {
    await tf.setBackend(backend);
    const resized = ops.resizeImages(tf.tensor4d([1, 4, 2, 8, 5, 7], [1, 2, 3, 1]), [3, 5], options);
    expect(resized.shape).toEqual([1, 3, 5, 1]);
    expect(resized).toBeCloseTensor(Float32Array.from(expected), 1e-5);
    expect(() => ops.resizeImages(tf.zeros([2, 2]), [3, 5])).toThrow(/\[B, H, W, C\]/);
    expect(() => ops.resizeImages(tf.zeros([1, 2, 2, 1]), [3, 0])).toThrow(/positive integers/);
  });

  test('stopGradient is the identity without a gradient', async () => {
    await tf.setBackend(backend);
    const before = tf.memory().numTensors;
    tf.tidy(() => {
      const x = tf.tensor1d([2, 3]);
      const g = tf.grad((a: tf.Tensor) => tf.sum(tf.mul(a, ops.stopGradient(tf.square(a)))))(x);
      expect(g.arraySync()).toEqual([4, 9]);
    });
    expect(tf.memory().numTensors).toBe(before);
  });

  test('valueAndGrads names weights without influence and leaks nothing', async () => {
    await tf.setBackend(backend);
    const weights = { a: tf.tensor1d([1, 2]), unused: tf.scalar(1) };
    const before = tf.memory().numTensors;
    const loss = () => ({ loss: tf.sum(tf.square(weights.a)), extra: { twice: tf.mul(weights.a, 2) } });
    expect(() => tf.tidy(() => ops.valueAndGrads(loss, weights).value)).toThrow(/unused/);
    expect(tf.memory().numTensors).toBe(before);
    const result = ops.valueAndGrads(loss, weights, { allowZeros: true });
    expect(result.value.arraySync()).toBe(5);
    expect(result.grads['a'].arraySync()).toEqual([2, 4]);
    expect(result.grads['unused'].arraySync()).toBe(0);
    expect(result.extra.twice.arraySync()).toEqual([2, 4]);
    tf.dispose([result.value, result.grads, result.extra]);
    expect(tf.memory().numTensors).toBe(before);
  });
});
