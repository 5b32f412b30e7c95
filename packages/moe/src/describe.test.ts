import { useTensorFlow } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs';
import { beforeAll, expect, test } from 'vitest';
import {
  capacity,
  chooseDispatcher,
  dense,
  describeLayer,
  measureDispatch,
  padded,
  REFERENCE_SPEED,
  routedExperts,
  slices,
} from './index.js';

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
      tf.ones([numExperts, width, 2 * hidden]),
      tf.ones([numExperts, hidden, width]),
    ] as const;
    const dy = tf.ones([tokens, width]);
    const counted = (training: boolean) =>
      countOps(() => {
        if (training) tf.grads((...xs: tf.Tensor[]) => layer(xs[0]!, xs[1]!, xs[2]!, xs[3]!))([...inputs], dy);
        else layer(...inputs);
      });
    for (const training of [false, true]) {
      const { ops } = describeLayer({ numExperts, expertsPerToken: 2, width, hidden }, tokens, { training }).dispatchers[name];
      expect({ numExperts, training, ops: counted(training) }).toEqual({ numExperts, training, ops });
    }
  }
});

test('parameters, FLOPs and the choice of a dispatcher', async () => {
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

  await tf.setBackend('tensorflow');
  expect(chooseDispatcher(layer, 2048).name).toBe('slices');
  // With a host that is slow and a device that is not, the number of ops decides.
  const hostBound = { secondsPerOp: 1, sliceFlops: 1e15, batchFlops: 1e15 };
  expect(chooseDispatcher(layer, 64, { speed: hostBound }).name).toBe('dense');
  expect(
    chooseDispatcher({ ...layer, numExperts: 1, expertsPerToken: 1 }, 2048, { speed: REFERENCE_SPEED }).seconds.slices,
  ).toBeGreaterThan(0);
  const speed = await measureDispatch();
  for (const value of Object.values(speed)) expect(value).toBeGreaterThan(0);
});
