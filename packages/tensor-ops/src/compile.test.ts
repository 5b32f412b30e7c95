import fs from 'node:fs';
import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import { residentGrowth } from '../test/resident-growth.js';
import { compile } from './compile.js';
import { type TensorFlowRuntime, useTensorFlow } from './node/index.js';
import { Parameter } from './parameter.js';
import { DataType, tensorFlowBackend } from './tensorflow-backend.js';

let runtime: TensorFlowRuntime;
beforeAll(async () => {
  runtime = await useTensorFlow();
});

/** A small network's loss and gradients, in ops of tfjs alone. */
function lossAndGradients(x: tf.Tensor, w1: tf.Tensor, w2: tf.Tensor): { loss: tf.Tensor; g1: tf.Tensor; g2: tf.Tensor } {
  const { value, grads } = tf.valueAndGrads((a: tf.Tensor, b: tf.Tensor) => {
    const hidden = tf.tanh(tf.matMul(x as tf.Tensor2D, a as tf.Tensor2D));
    return tf.mean(tf.square(tf.matMul(hidden, b as tf.Tensor2D)));
  })([w1, w2]);
  return { loss: value, g1: grads[0], g2: grads[1] };
}

describe('on the TensorFlow runtime', () => {
  beforeAll(() => void tf.setBackend('tensorflow'));

  test('compiled equals eager to 1e-6, for values and gradients, sync and async', async () => {
    const [x, w1, w2] = [tf.randomNormal([8, 6]), tf.randomNormal([6, 10]), tf.randomNormal([10, 3])];
    const step = compile(lossAndGradients);
    const eager = lossAndGradients(x, w1, w2);
    for (const compiled of [step.runSync(x, w1, w2), await step.run(x, w1, w2)]) {
      for (const key of ['loss', 'g1', 'g2'] as const) expect(compiled[key]).toBeCloseTensor(eager[key], 1e-6);
    }
    expect(step.traces).toBe(1);
    step.dispose();
    expect(() => step.runSync(x, w1, w2)).toThrow(/after dispose/);
  });

  test('shapes that depend on data stay dynamic in one recording', () => {
    const backend = tensorFlowBackend()!;
    const step = compile((x: tf.Tensor, limit: tf.Tensor) => {
      const rows = backend.raw('Reshape', [backend.raw('Where', [tf.greater(x, limit)])[0], tf.tensor1d([-1], 'int32')])[0];
      return backend.raw('GatherV2', [x, rows, tf.scalar(0, 'int32')])[0];
    });
    const x = tf.tensor1d([1, 5, 2, 7, 3]);
    const limits = [0, 2, 4, 10].map((v) => tf.scalar(v));
    expect(limits.map((limit) => step.runSync(x, limit).arraySync())).toEqual([[1, 5, 2, 7, 3], [5, 7, 3], [5, 7], []]);
    expect(step.traces).toBe(1);
    step.dispose();
  });

  test('parameters are read and assigned in program order, and recording changes nothing', async () => {
    const p = new Parameter('p', tf.scalar(1));
    let runs = 0;
    const step = compile((x: tf.Tensor) => {
      runs++;
      const first = p.read();
      p.assign(tf.add(first, x));
      const second = p.read();
      p.assign(tf.mul(second, 2));
      return { first, second };
    });
    const x = tf.scalar(10);
    const one = await step.run(x);
    expect([one.first.dataSync()[0], one.second.dataSync()[0]]).toEqual([1, 11]);
    const two = step.runSync(x);
    expect([two.first.dataSync()[0], two.second.dataSync()[0]]).toEqual([22, 32]);
    expect(Array.from(await p.data())).toEqual([64]);
    expect(runs).toBe(1);
    step.dispose();
    p.dispose();
  });

  test('tensors of the enclosing scope become inputs and may be disposed by their owner', () => {
    const outer = tf.add(tf.tensor1d([1, 2]), 1);
    const step = compile((x: tf.Tensor) => [tf.mul(x, outer), x, tf.scalar(5)]);
    const x = tf.tensor1d([10, 20]);
    step.runSync(x);
    outer.dispose();
    expect(step.runSync(x).map((t) => t.arraySync())).toEqual([[20, 60], [10, 20], 5]);
    step.dispose();
  });

  test('one recording per signature; a caller that retraces every step is warned once', () => {
    const warnings: string[] = [];
    const step = compile((x: tf.Tensor) => tf.add(x, 1), { name: 'growing', onWarning: (m) => warnings.push(m) });
    for (let n = 1; n <= 10; n++) step.runSync(tf.zeros([n]));
    expect(step.traces).toBe(10);
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toMatch(/growing.*recorded 6 times in 6 calls/);
    step.runSync(tf.zeros([3], 'int32'));
    expect(step.traces).toBe(11);
    step.dispose();
  });

  test('a host read while recording is refused with a clear error and leaves the backend usable', () => {
    const handles = runtime.numTensors();
    const step = compile((x: tf.Tensor) => tf.mul(x, x.dataSync()[0]));
    const x = tf.add(tf.tensor1d([1, 2]), 0);
    expect(() => step.runSync(x)).toThrow(expect.objectContaining({ code: 'E_HOST_READ' }));
    expect(tf.add(x, 1).arraySync()).toEqual([2, 3]);
    expect(tensorFlowBackend()!.recording).toBe(false);
    expect(runtime.numTensors() - handles).toBeLessThanOrEqual(3);
    step.dispose();
  });

  test('a parameter created inside a step is refused', () => {
    const step = compile((x: tf.Tensor) => new Parameter('inside', x).read());
    expect(() => step.runSync(tf.scalar(1))).toThrow(expect.objectContaining({ code: 'E_RECORDING' }));
  });

  test('XLA gives the same result', () => {
    const [x, w1, w2] = [tf.randomNormal([4, 3]), tf.randomNormal([3, 5]), tf.randomNormal([5, 2])];
    const step = compile(lossAndGradients, { xla: true });
    const eager = lossAndGradients(x, w1, w2);
    const compiled = step.runSync(x, w1, w2);
    for (const key of ['loss', 'g1', 'g2'] as const) expect(compiled[key]).toBeCloseTensor(eager[key], 1e-5);
    step.dispose();
  });

  test('bfloat16 stays inside a recorded step', () => {
    const backend = tensorFlowBackend()!;
    const step = compile((x: tf.Tensor) => {
      const low = backend.raw('Cast', [x], { DstT: { type: DataType.bfloat16 } })[0];
      const product = backend.raw('MatMul', [low, low])[0];
      return backend.raw('Cast', [product], { DstT: { type: DataType.float32 } })[0];
    });
    expect(step.runSync(tf.fill([2, 2], 3)).arraySync()).toEqual([
      [18, 18],
      [18, 18],
    ]);
    step.dispose();
  });

  test('the event loop stays alive during run()', async () => {
    const x = tf.randomNormal([512, 512], 0, 0.04);
    let [ticks, took] = [0, 0];
    // Enough work for a timer to tick meanwhile, however fast the machine is; a loop that stands still lets it tick once at most.
    for (let products = 40; ticks <= 3 && took < 5000; products *= 2) {
      const step = compile((x: tf.Tensor) => {
        let y = x;
        for (let i = 0; i < products; i++) y = tf.matMul(y as tf.Tensor2D, x as tf.Tensor2D);
        return y;
      });
      step.runSync(x).dispose();
      ticks = 0;
      const timer = setInterval(() => ticks++, 1);
      const started = performance.now();
      const result = await step.run(x);
      took = performance.now() - started;
      clearInterval(timer);
      result.dispose();
      step.dispose();
    }
    expect(ticks).toBeGreaterThan(3);
  });

  test('10,000 compiled steps leave the handle count and resident memory flat', () => {
    const p = new Parameter('weight', tf.ones([16, 16]));
    const x = tf.ones([16, 16]);
    const step = compile((input: tf.Tensor) => {
      p.assign(tf.mul(p.read(), 0.5));
      return tf.sum(tf.matMul(p.read() as tf.Tensor2D, input as tf.Tensor2D));
    });
    const loop = (n: number) => {
      for (let i = 0; i < n; i++) step.runSync(x).dispose();
    };
    loop(2_000);
    const handles = runtime.numTensors();
    const tensors = tf.memory().numTensors;
    const growth = residentGrowth(() => loop(10_000));
    expect(runtime.numTensors()).toBe(handles);
    expect(tf.memory().numTensors).toBe(tensors);
    // 400 bytes a step.
    expect(growth).toBeLessThan(4 << 20);
    step.dispose();
    p.dispose();
  });

  test.skipIf(process.platform !== 'linux')('recording a large step takes little memory', () => {
    const x = tf.ones([1024, 1024]);
    const peak = () => Number(/VmHWM:\s+(\d+)/.exec(fs.readFileSync('/proc/self/status', 'utf8'))![1]) * 1024;
    tf.add(x, 1).dispose();
    const recordAndRun = (): number => {
      const step = compile((input: tf.Tensor) => {
        // 100 results of 4 MiB that all live until the step ends.
        const layers = [input];
        for (let i = 0; i < 100; i++) layers.push(tf.mul(layers.at(-1)!, 0.5));
        return layers.reduce((a, b) => tf.add(a, b));
      });
      fs.writeFileSync('/proc/self/clear_refs', '5'); // The peak starts anew at what is resident now.
      const before = peak();
      const result = step.runSync(x);
      const grown = peak() - before;
      expect(tf.slice(result, [0, 0], [1, 1]).dataSync()[0]).toBeCloseTo(2, 6);
      result.dispose();
      step.dispose();
      return grown;
    };
    // Pools of the allocator and garbage grow in some rounds, what recording takes in all.
    expect(Math.min(...Array.from({ length: 3 }, recordAndRun))).toBeLessThan(100 << 20);
  });

  test('recordings free everything when disposed', () => {
    const x = tf.ones([4, 4]);
    const once = () => {
      const step = compile((input: tf.Tensor) => tf.add(tf.matMul(input as tf.Tensor2D, input as tf.Tensor2D), 1));
      step.runSync(x).dispose();
      step.dispose();
    };
    once();
    const handles = runtime.numTensors();
    for (let i = 0; i < 50; i++) once();
    expect(runtime.numTensors()).toBe(handles);
  });
});

describe('on another backend', () => {
  beforeAll(() => void tf.setBackend('cpu'));

  test('the same step runs eagerly, with parameters, and leaks nothing', async () => {
    await tf.setBackend('cpu');
    const p = new Parameter('p', tf.scalar(1));
    const step = compile((x: tf.Tensor) => {
      p.assign(tf.add(p.read(), x));
      return { value: p.read() };
    });
    const x = tf.scalar(2);
    const before = tf.memory().numTensors;
    for (let i = 0; i < 3; i++) (await step.run(x)).value.dispose();
    expect(tf.memory().numTensors).toBe(before);
    expect(Array.from(await p.data())).toEqual([7]);
    expect(step.traces).toBe(0);
    p.dispose();
    step.dispose();
  });
});
