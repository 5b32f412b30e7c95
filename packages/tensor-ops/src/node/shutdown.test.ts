import * as tf from '@tensorflow/tfjs';
import { expect, test } from 'vitest';
import { compile } from '../compile.js';
import { Parameter } from '../parameter.js';
import { tensorFlowBackend } from '../tensorflow-backend.js';
import { useTensorFlow } from './index.js';

const stopped = expect.objectContaining({ code: 'E_RUNTIME_STOPPED' });

/** Long enough to be under way when the runtime is shut down. */
const slow = () =>
  compile((x: tf.Tensor) => {
    let y = x;
    for (let i = 0; i < 40; i++) y = tf.matMul(y as tf.Tensor2D, x as tf.Tensor2D);
    return y;
  });

test('a shutdown waits for the step that runs, ends everything, and the runtime can be started again', async () => {
  for (let round = 0; round < 3; round++) {
    const runtime = await useTensorFlow();
    const backend = tensorFlowBackend()!;
    const x = tf.randomNormal([512, 512], 0, 0.04);
    const p = new Parameter('p', tf.scalar(round));
    const step = slow();
    (await step.run(x)).dispose();
    expect(await p.data()).toEqual(Float32Array.of(round));

    const run = step.run(x);
    const outcome = run.catch((error: unknown) => error);
    const shutdown = runtime.shutdown();
    expect(tf.findBackend('tensorflow')).toBeNull();
    expect(() => step.runSync(x)).toThrow();
    expect(await outcome).toEqual(stopped);
    await shutdown;
    await runtime.shutdown();
    expect(runtime.numTensors()).toBe(0);

    // What was made on it says so, and can be disposed.
    expect(backend.stopped).toBe(true);
    expect(() => backend.raw('NoOp', [], {}, 0)).toThrow(stopped);
    expect(() => p.read()).toThrow(stopped);
    expect(() => x.dataSync()).toThrow(stopped);
    x.dispose();
    p.dispose();
    step.dispose();

    const again = await useTensorFlow();
    expect(again).not.toBe(runtime);
    expect(tf.add(tf.ones([2]), 1).arraySync()).toEqual([2, 2]);
    await again.shutdown();
  }
});

test('a compiled step of the old runtime does not run on the new one', async () => {
  const first = await useTensorFlow();
  const step = compile((x: tf.Tensor) => tf.add(x, 1));
  expect(step.runSync(tf.scalar(1)).arraySync()).toBe(2);
  await first.shutdown();
  const second = await useTensorFlow();
  expect(() => step.runSync(tf.scalar(1))).toThrow(stopped);
  step.dispose();
  await second.shutdown();
});

test('TensorFlow keeps its threads, so another number is refused', async () => {
  const runtime = await useTensorFlow();
  const { intraOp } = runtime.threads;
  await runtime.shutdown();
  await expect(useTensorFlow({ threads: intraOp + 1 })).rejects.toMatchObject({ code: 'E_RUNTIME_START' });
  const again = await useTensorFlow();
  expect(again.threads.intraOp).toBe(intraOp);
  await again.shutdown();
});
