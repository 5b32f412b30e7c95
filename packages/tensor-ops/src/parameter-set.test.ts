import * as tf from '@tensorflow/tfjs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { initialWeight, ParameterSet, type WeightSpec, WeightsError, type WeightValue } from './index.js';
import { type TensorFlowRuntime, useTensorFlow } from './node/index.js';

let runtime: TensorFlowRuntime;
beforeAll(async () => {
  runtime = await useTensorFlow();
});
afterAll(() => runtime.shutdown());

const specs: Record<string, WeightSpec> = {
  'linear.weight': { shape: [3, 4], initial: { kind: 'uniform', limit: 0.5 }, matrix: true },
  'linear.bias': { shape: [4], initial: { kind: 'zeros' } },
  'norm.scale': { shape: [3], initial: { kind: 'ones' } },
  table: { shape: [2, 3], initial: { kind: 'normal', std: 0.02 } },
};
const weights = (): [string, WeightValue][] =>
  Object.entries(specs).map(([name, spec]) => [name, { shape: spec.shape, data: initialWeight(name, spec, 9) }]);
const values = async (set: ParameterSet) =>
  Object.fromEntries(await Promise.all(Object.entries(set.parameters).map(async ([name, p]) => [name, [...(await p.data())]] as const)));

test('first values depend on seed, purpose and name only, and are these', () => {
  const spec = specs['linear.weight'];
  expect(initialWeight('a', spec, 1)).toEqual(initialWeight('a', spec, 1, 'weights'));
  for (const other of [initialWeight('b', spec, 1), initialWeight('a', spec, 2), initialWeight('a', spec, 1, 'autoencoder')])
    expect(other).not.toEqual(initialWeight('a', spec, 1));
  expect(Math.max(...initialWeight('a', spec, 1).map(Math.abs))).toBeLessThanOrEqual(0.5);
  expect([...new Uint32Array(initialWeight('blocks.0.moe.gate', spec, 7).buffer)].slice(0, 3)).toEqual(BITS);
  expect(() => initialWeight('a', spec, -1)).toThrow(/seed/);
});
/** Recorded when the distributions lived in the dit package. */
const BITS = [1051279392, 1045010680, 1043937792];

describe.each(['cpu', 'tensorflow'])('on %s', (backend) => {
  beforeAll(() => void tf.setBackend(backend));

  test('a set from specs has their first values, equal sets equal ones, and frees them', async () => {
    const before = tf.memory().numTensors;
    const [set, again] = [ParameterSet.create(specs, 9), ParameterSet.create(specs, 9, { prefix: 'teacher.' })];
    expect(await values(set)).toEqual(Object.fromEntries(weights().map(([name, { data }]) => [name, [...data]])));
    expect(await values(again)).toEqual(await values(set));
    expect(Object.values(again.parameters)[0].name).toBe('teacher.linear.weight');
    const read = set.read();
    expect(Object.keys(read)).toEqual(Object.keys(specs));
    expect(Object.values(read).map(({ shape }) => shape)).toEqual(Object.values(specs).map(({ shape }) => shape));
    tf.dispose(read);
    set.dispose();
    again.dispose();
    expect(tf.memory().numTensors).toBe(before);
    expect(() => ParameterSet.create(specs, 0.5)).toThrow(/seed/);
    expect(tf.memory().numTensors).toBe(before);
  });

  test('a declared set takes weights in any order; reading it before is an error', async () => {
    const set = ParameterSet.declare(specs);
    expect(() => set.parameters['table'].read()).toThrow(/table/);
    const seen: string[] = [];
    expect(await set.load(weights().reverse(), { onProgress: (name) => seen.push(name) })).toBe(set);
    expect(seen).toEqual(Object.keys(specs).reverse());
    expect(await values(set)).toEqual(await values(ParameterSet.create(specs, 9)));
  });

  test('weights that do not fit are named', async () => {
    const set = ParameterSet.create(specs, 1);
    const changed = (change: (list: [string, WeightValue][]) => [string, WeightValue][]) => set.load(change(weights()));
    await expect(changed((list) => list.slice(1))).rejects.toThrow(/1 of 4 weights are missing: linear\.weight/);
    await expect(changed((list) => [...list, ['more', list[0][1]]])).rejects.toThrow(/more/);
    await expect(changed((list) => [...list, list[1]])).rejects.toThrow(/linear\.bias comes twice/);
    await expect(changed((list) => [['table', { ...list[3][1], shape: [3, 2] }]])).rejects.toThrow(
      /table: expected shape \[2,3\], found \[3,2\]/,
    );
    await expect(changed(() => [['table', { shape: [2, 3], data: new Float32Array(5) }]])).rejects.toThrow(/5 values/);
    const error = await changed(() => []).catch((e: unknown) => e);
    expect(WeightsError.isInstance(error)).toBe(true);
    expect(error).toMatchObject({ code: 'E_WEIGHTS' });
  });

  test('a snapshot stays as it is, and is freed when taken or disposed of', async () => {
    const set = ParameterSet.create(specs, 9);
    const expected = await values(set);
    const before = tf.memory().numTensors;
    const [taken, dropped] = [await set.snapshot(), await set.snapshot()];
    for (const parameter of Object.values(set.parameters)) parameter.fill(3);
    for (const { name, shape, dtype, data } of taken.tensors) {
      expect([...(await data())]).toEqual(expected[name]);
      expect({ shape, dtype }).toEqual({ shape: specs[name].shape, dtype: 'float32' });
    }
    dropped.dispose();
    taken.dispose();
    expect(tf.memory().numTensors).toBe(before);
    expect((await values(set))['table']).toEqual([3, 3, 3, 3, 3, 3]);
  });

  test('bfloat16 is for matrices', async () => {
    const set = ParameterSet.create(specs, 9, { precision: 'bf16' });
    expect(Object.values(set.parameters).map(({ dtype }) => dtype)).toEqual(['bfloat16', 'float32', 'float32', 'float32']);
    const [full, rounded] = [ParameterSet.create(specs, 9), set].map((s) => s.parameters['linear.weight']);
    const [a, b] = [await full.data(), await rounded.data()];
    for (const [i, x] of a.entries()) expect(Math.abs(b[i] - x)).toBeLessThanOrEqual(2 ** -8 * Math.abs(x));
    expect([...b].join() === [...a].join()).toBe(backend === 'cpu');
    expect([...(await (await set.snapshot()).tensors[0].data())]).toEqual([...b]);
  });

  test('zeros like parameters', async () => {
    const zeros = ParameterSet.zerosLike(ParameterSet.create(specs, 9, { precision: 'bf16' }).parameters, 'adamw.m.');
    expect(Object.values(zeros.parameters).map(({ dtype, name }) => `${name} ${dtype}`)).toEqual(
      Object.keys(specs).map((n) => `adamw.m.${n} float32`),
    );
    expect(
      Object.values(await values(zeros))
        .flat()
        .every((v) => v === 0),
    ).toBe(true);
  });
});
