import * as tf from '@tensorflow/tfjs';
import { beforeAll, expect, test } from 'vitest';
import { GradientBuckets } from './gradient-buckets.js';

beforeAll(async () => {
  await tf.setBackend('cpu');
});

const shapes = { a: [2, 3], b: [5], c: [], d: [4, 1, 2], e: [1] };
const tensors = () => Object.fromEntries(Object.entries(shapes).map(([name, shape], i) => [name, tf.fill(shape, i + 1)]));

test('buckets are filled from the last parameter on, and padded', () => {
  const { buckets } = new GradientBuckets(shapes, { bytes: 40, multipleOf: 4 });
  expect(buckets).toEqual([
    { names: ['e', 'd', 'c'], length: 10, paddedLength: 12 },
    { names: ['b'], length: 5, paddedLength: 8 },
    { names: ['a'], length: 6, paddedLength: 8 },
  ]);
});

test.each([
  [40, 1],
  [40, 3],
  [4, 4],
  [2 ** 20, 7],
])('flatten and unflatten are inverse for buckets of %i bytes and %i ranks, and leak nothing', async (bytes, multipleOf) => {
  const buckets = new GradientBuckets(shapes, { bytes, multipleOf });
  const given = tensors();
  const before = tf.memory().numTensors;
  const flat = buckets.flatten(given);
  for (const [i, { paddedLength }] of buckets.buckets.entries()) expect(flat[i].shape).toEqual([paddedLength]);
  expect(flat.every((x) => x.size % multipleOf === 0)).toBe(true);
  const back = buckets.unflatten(flat);
  expect(Object.keys(back).sort()).toEqual(Object.keys(shapes));
  for (const [name, x] of Object.entries(back)) {
    expect(x.shape).toEqual(given[name].shape);
    expect(await x.array()).toEqual(await given[name].array());
  }
  tf.dispose([flat, back]);
  expect(tf.memory().numTensors).toBe(before);
});

test('no parameters, no buckets; sizes that make no sense are refused', () => {
  const none = new GradientBuckets({});
  expect([none.buckets, none.flatten({}), none.unflatten([])]).toEqual([[], [], {}]);
  expect(() => new GradientBuckets(shapes, { bytes: 0 })).toThrow(/bytes/);
  expect(() => new GradientBuckets(shapes, { multipleOf: 1.5 })).toThrow(/multipleOf/);
});
