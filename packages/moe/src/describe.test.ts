import { compile } from '@dit-moe/tensor-ops';
import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, test } from 'vitest';
import { REFERENCE_SPEED } from './dispatch/auto.js';
import { auto, capacity, chooseDispatcher, dense, measureDispatch, padded, routedExperts, slices } from './dispatch/index.js';
import { describeLayer } from './index.js';

beforeAll(async () => void (await useTensorFlow()));

const dispatchers = { slices, padded, capacity: capacity(), dense };

/** Ops that a run gives to TensorFlow. */
function countOps(run: () => void): number {
  const { binding } = tf.backend() as unknown as { binding: Record<'executeOp' | 'execute', (...args: unknown[]) => unknown> };
  const originals = { executeOp: binding.executeOp, execute: binding.execute };
  let count = 0;
  for (const name of ['executeOp', 'execute'] as const)
    binding[name] = (...args) => {
      count++;
      return originals[name].apply(binding, args);
    };
  try {
    tf.tidy(run);
  } finally {
    Object.assign(binding, originals);
  }
  return count;
}

test.each(Object.keys(dispatchers) as (keyof typeof dispatchers)[])('the ops of %s are as many as it says', async (name) => {
  await tf.setBackend('tensorflow');
  for (const numExperts of [4, 8]) {
    const [tokens, width, hidden] = [16, 4, 6];
    const layer = (x: tf.Tensor, weights: tf.Tensor, gateUp: tf.Tensor, down: tf.Tensor) =>
      routedExperts(
        x,
        {
          indices: tf.tensor(
            Int32Array.from({ length: 2 * tokens }, (_, i) => i % numExperts),
            [tokens, 2],
            'int32',
          ),
          weights,
          numExperts,
          full: true,
        },
        { gateUp, down },
        { dispatcher: dispatchers[name] },
      ).output;
    const inputs = [
      tf.ones([tokens, width]),
      tf.ones([tokens, 2]),
      tf.ones([numExperts, 2, width, hidden]),
      tf.ones([numExperts, hidden, width]),
    ] as const;
    const dy = tf.ones([tokens, width]);
    const counted = (training: boolean) =>
      countOps(() => {
        if (training) tf.grads((...xs: tf.Tensor[]) => layer(xs[0], xs[1], xs[2], xs[3]))([...inputs], dy);
        else layer(...inputs);
      });
    for (const training of [false, true]) {
      const { ops } = describeLayer({ numExperts, expertsPerToken: 2, width, hidden }, tokens, { training }).dispatchers[name];
      expect({ numExperts, training, ops: counted(training) }).toEqual({ numExperts, training, ops });
    }
  }
});

test('parameters and FLOPs', () => {
  // DiT-MoE-S: 8 experts of 3 * 384 * 1536, shared width 768, two active.
  const layer = { numExperts: 8, expertsPerToken: 2, width: 384, hidden: 1536, sharedHidden: 768 };
  const { parameters, dispatchers: costs, commonFlops } = describeLayer(layer, 2048, { maxOverMean: 1.1 });
  expect(parameters).toEqual({ router: 3072, routed: 14_155_776, shared: 884_736, total: 15_043_584, active: 4_426_752 });
  expect(costs.slices.flops).toBe(2 * 4096 * 3 * 384 * 1536);
  expect(costs.padded.flops / costs.slices.flops).toBeCloseTo(1.1, 10);
  expect(costs.dense.flops / costs.slices.flops).toBe(4);
  expect(commonFlops).toBe(2 * 2048 * (3072 + 884_736));
  expect(describeLayer(layer, 2048, { training: true }).dispatchers.slices.flops).toBe(3 * costs.slices.flops);
  expect(() => describeLayer(layer, 0)).toThrow(/tokens/);
});

/** Starts to watch tensors; the function that it returns stops and says how many bytes are held beside those of `given`. */
function trackTensors(given: readonly tf.Tensor[]): () => number {
  const engine = tf.engine() as unknown as Record<'trackTensor' | 'disposeTensor', (tensor: tf.Tensor, ...rest: unknown[]) => void>;
  const originals = { trackTensor: engine.trackTensor, disposeTensor: engine.disposeTensor };
  const alive = new Set<tf.Tensor>();
  engine.trackTensor = (tensor, ...rest) => {
    alive.add(tensor);
    originals.trackTensor.call(engine, tensor, ...rest);
  };
  engine.disposeTensor = (tensor, ...rest) => {
    alive.delete(tensor);
    originals.disposeTensor.call(engine, tensor, ...rest);
  };
  return () => {
    Object.assign(engine, originals);
    // Clones share their data.
    const buffers = new Map([...alive].map(({ dataId, size }) => [dataId, 4 * size]));
    for (const { dataId } of given) buffers.delete(dataId);
    return [...buffers.values()].reduce((a, b) => a + b, 0);
  };
}

test.each(Object.keys(dispatchers) as (keyof typeof dispatchers)[])('%s keeps the activations that it says', async (name) => {
  await tf.setBackend('tensorflow');
  const [numExperts, tokens, width] = [4, 128, 128];
  for (const kind of ['swiglu', 'gelu'] as const) {
    const hidden = kind === 'gelu' ? 384 : 256;
    // Loads 96, 64, 64, 32.
    const indices = tf.tensor(
      Int32Array.from({ length: 2 * tokens }, (_, i) => [0, 1, 0, 2, 1, 2, 0, 3][i % 8]),
      [tokens, 2],
      'int32',
    );
    const up = tf.ones([numExperts, ...(kind === 'gelu' ? [] : [2]), width, hidden]);
    const inputs = [tf.ones([tokens, width]), tf.ones([tokens, 2]), up, tf.ones([numExperts, hidden, width])];
    let kept = 0;
    tf.tidy(() => {
      const made = trackTensors(inputs);
      tf.grads((x, weights, upIn, down) => {
        const experts = kind === 'gelu' ? { kind, up: upIn, down: down } : { gateUp: upIn, down: down };
        const { output } = routedExperts(x, { indices, weights: weights, numExperts, full: true }, experts, {
          dispatcher: dispatchers[name],
        });
        kept = made();
        return output;
      })(inputs);
    });
    const shape = { numExperts, expertsPerToken: 2, width, hidden, kind };
    const { activationBytes } = describeLayer(shape, tokens, { maxOverMean: 1.5 }).dispatchers[name];
    // What is not counted is indices and masks of a few numbers per assignment.
    expect(kept / activationBytes).toBeGreaterThan(1);
    expect(kept / activationBytes).toBeLessThan(1.06);
  }
});

describe('auto', () => {
  const layer = { numExperts: 8, expertsPerToken: 2, width: 384, hidden: 1536 };
  // A host that is slow and a device that is not: the number of ops decides.
  const hostBound = { secondsPerOp: 1, sliceFlops: 1e15, batchFlops: 1e15 };
  const batched = { secondsPerOp: 1e-6, sliceFlops: 1e11, batchFlops: 1.5e11 };

  test('weighs ops, products and load', async () => {
    await tf.setBackend('tensorflow');
    expect(chooseDispatcher(layer, 2048).name).toBe('slices');
    expect(chooseDispatcher(layer, 64, { speed: hostBound }).name).toBe('dense');
    expect(chooseDispatcher(layer, 2048, { speed: batched, maxOverMean: 1.1 }).name).toBe('padded');
    expect(chooseDispatcher(layer, 2048, { speed: batched, maxOverMean: 2 }).name).toBe('slices');
    const { seconds } = chooseDispatcher({ ...layer, numExperts: 1, expertsPerToken: 1 }, 2048, { speed: REFERENCE_SPEED });
    expect(seconds.slices).toBeGreaterThan(0);
  });

  test('runs what it chose, whatever the tokens are, and a compiled step keeps the choice', async () => {
    await tf.setBackend('tensorflow');
    const [numExperts, tokens, width, hidden] = [8, 16, 6, 4];
    const plan = (first: number, full = true) => ({
      indices: tf.add(tf.fill([tokens, 2], first, 'int32'), tf.tensor1d([0, 1], 'int32')),
      weights: tf.ones([tokens, 2]),
      numExperts,
      full,
    });
    const shape = { width, hidden, kind: 'swiglu', narrow: false } as const;
    const isDense = (speed: typeof hostBound, options: Parameters<typeof plan>) =>
      auto({ speed })(plan(...options), shape).slotOfRow.size === numExperts * tokens;
    tf.tidy(() => {
      for (const first of [0, 3]) {
        expect(isDense(hostBound, [first])).toBe(true);
        expect(isDense(hostBound, [first, false])).toBe(true);
        expect(isDense({ secondsPerOp: 0, sliceFlops: 1, batchFlops: 1 }, [first])).toBe(false);
      }
    });
    const [x, gateUp, down] = [
      tf.randomNormal([tokens, width]),
      tf.randomNormal([numExperts, 2, width, hidden]),
      tf.randomNormal([numExperts, hidden, width]),
    ];
    const step = (dispatcher: ReturnType<typeof auto>) =>
      compile((input: tf.Tensor) => routedExperts(input, plan(1), { gateUp, down }, { dispatcher }).output);
    const [chosen, named] = [step(auto({ speed: hostBound })), step(dense)];
    const [a, b, c] = [chosen.runSync(x), chosen.runSync(x), named.runSync(x)].map((t) => t.dataSync());
    expect(a).toEqual(b);
    expect(a).toEqual(c);
    chosen.dispose();
    named.dispose();
  });

  test.each(['cpu', 'tensorflow'])('the speed of %s can be measured without leaks', async (backend) => {
    await tf.setBackend(backend);
    const before = tf.memory().numTensors;
    // Where nothing is compiled, both are the same.
    for (const compiled of backend === 'cpu' ? [false] : [true, false])
      for (const value of Object.values(await measureDispatch(compiled))) expect(value).toBeGreaterThan(0);
    expect(tf.memory().numTensors).toBe(before);
  });
});
