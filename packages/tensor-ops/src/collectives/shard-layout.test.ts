import * as tf from '@tensorflow/tfjs';
import { beforeAll, expect, test } from 'vitest';
import { Parameter } from '../parameter.js';
import { WeightsError } from '../parameter-set.js';
import { alone } from './collectives.js';
import { GradientBuckets } from './gradient-buckets.js';
import { ShardLayout } from './shard-layout.js';

beforeAll(async () => {
  await tf.setBackend('cpu');
});

const shapes = { a: [2, 3], b: [5], c: [], d: [4, 1, 2], e: [1] };
const size = 3;
const values = Object.entries(shapes).map(([name, shape], i) => {
  const data = Float32Array.from({ length: tf.util.sizeFromShape(shape) }, (_, k) => 100 * i + k);
  return [name, { shape, data }] as const;
});
const tensors = () => Object.fromEntries(values.map(([name, { shape, data }]) => [name, tf.tensor(data, shape)]));
const buckets = new GradientBuckets(shapes, { bytes: 40, multipleOf: size });

/** The layouts of all ranks in this process; a gather takes what `partsOf` says of the others. */
function ranks(partsOf: (x: tf.Tensor, rank: number) => tf.Tensor[] = () => []) {
  return Array.from({ length: size }, (_, rank) => {
    const allGather = (x: tf.Tensor) => tf.concat(partsOf(x, rank));
    return new ShardLayout({ ...alone, rank, size, allGather }, buckets);
  });
}
const numbers = async (parts: Record<string, tf.Tensor | Parameter>) =>
  Object.fromEntries(await Promise.all(Object.entries(parts).map(async ([name, x]) => [name, [...(await x.data())]] as const)));

test('the parts of all ranks side by side are the buckets, and are joined to the tensors again', async () => {
  const parts = ranks().map((layout) => layout.slice(tensors()));
  for (const [i, flat] of buckets.flatten(tensors()).entries())
    expect(await tf.concat(parts.map((part) => part[`shard.${i}`])).array()).toEqual(await flat.array());
  const all = parts.map((part) => Object.values(part));
  const joining = ranks((x, rank) => all.map((part) => part[all[rank].indexOf(x)]));
  for (const [rank, layout] of joining.entries()) expect(await numbers(layout.join(parts[rank]))).toEqual(await numbers(tensors()));
});

test('parameters have the parts of whole ones, from the device or from the host in any order, and are read whole', async () => {
  const whole = Object.fromEntries(Object.entries(tensors()).map(([name, x]) => [name, new Parameter(name, x)]));
  const created = ranks().map((layout) => layout.create(whole));
  const wanted = await Promise.all(ranks().map((layout) => numbers(layout.slice(tensors()))));
  for (const [rank, parts] of created.entries()) expect(await numbers(parts)).toEqual(wanted[rank]);

  for (const order of [values, [...values].reverse(), [values[3], values[0], values[4], values[2], values[1]]])
    for (const [rank, layout] of ranks().entries()) {
      for (const part of Object.values(created[rank])) part.fill(0);
      await layout.load(created[rank], order);
      expect(await numbers(created[rank])).toEqual(wanted[rank]);
    }

  let bucket = 0;
  const [first] = ranks(() => created.map((parts) => parts[`shard.${bucket}`].read()));
  const before = tf.memory().numTensors;
  const read: Record<string, number[]> = {};
  for await (const some of first.read(created[0])) {
    Object.assign(read, await numbers(some));
    bucket++;
  }
  expect(read).toEqual(await numbers(tensors()));
  expect(Object.keys(read)).toEqual(['e', 'd', 'c', 'b', 'a']);
  // Only what this test reads of the other ranks, and its own `tensors()`.
  expect(tf.memory().numTensors - before).toBe(Object.keys(shapes).length);
});

test('values that are missing, unknown, of another size or given twice are refused', async () => {
  const [layout] = ranks();
  const parts = layout.create(Object.fromEntries(Object.entries(tensors()).map(([name, x]) => [name, new Parameter(name, x)])));
  for (const wrong of [
    values.slice(1),
    [...values, ['f', { shape: [1], data: new Float32Array(1) }] as const],
    [['a', { shape: [7], data: new Float32Array(7) }] as const],
    [values[0], values[0]],
  ])
    await expect(layout.load(parts, wrong)).rejects.toThrow(WeightsError);
});
