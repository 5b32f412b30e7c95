import type { HostTensor } from '@dit-moe/tensor-ops/io';
import { describe, expect, test } from 'vitest';
import { type DitConfig, exportWeights, importWeights, type Layout, type NamedArray, positionEmbedding, weightSpecs } from '../index.js';
import { exportedShapes } from './convert.js';
import { layoutNames } from './layouts.js';

const moeModel: DitConfig = {
  inputSize: [4, 4],
  patchSize: 2,
  inChannels: 2,
  hiddenSize: 8,
  depth: 2,
  numHeads: 2,
  mlpRatio: 4,
  numClasses: 3,
  learnSigma: true,
  moe: { numExperts: 3, topK: 1, expertRatio: 2, sharedRatio: 1, balanceAlpha: 0.01 },
};
const { moe: _, ...dense } = moeModel;

const numbered = (config: DitConfig): Map<string, Float32Array> => {
  let next = 0;
  return new Map(
    Object.entries(weightSpecs(config)).map(([name, { shape }]) => [
      name,
      Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => next++),
    ]),
  );
};
const exported = async (config: DitConfig, layout: Layout, ours = numbered(config)) => {
  const theirs = new Map<string, NamedArray>();
  for await (const [name, value] of exportWeights(config, layout, async (n) => ours.get(n)!)) theirs.set(name, value);
  return theirs;
};
const fileOf = (tensors: ReadonlyMap<string, NamedArray>) => ({
  names: [...tensors.keys()],
  info: (name: string) => ({ dtype: 'F32' as const, shape: tensors.get(name)!.shape }),
  read: async (name: string): Promise<HostTensor> => ({
    dtype: 'F32',
    shape: [...tensors.get(name)!.shape],
    data: tensors.get(name)!.data,
  }),
});
const imported = async (config: DitConfig, theirs: Map<string, NamedArray>, options = {}) => {
  const ours = new Map<string, Float32Array>();
  for await (const [name, { data }] of importWeights(config, fileOf(theirs), options)) ours.set(name, data);
  return ours;
};

describe('the layout of the reference', () => {
  test.each<[string, DitConfig, Layout]>([
    ['experts, qkv', moeModel, 'qkv'],
    ['experts, flash', { ...moeModel, qkNorm: true }, 'flash'],
    ['dense', dense, 'qkv'],
    ['diffusers', { ...dense, timestepFrequencies: 'diffusers' }, 'diffusers'],
    ['experts in some layers', { ...moeModel, moe: { ...moeModel.moe!, layers: [1] } }, 'qkv'],
    ['no null label', { ...moeModel, nullLabel: false }, 'qkv'],
  ])('%s: out and in again gives the same bits', async (_name, config, layout) => {
    const ours = numbered(config);
    const theirs = await exported(config, layout);
    expect([...theirs.keys()].sort()).toEqual(layoutNames(config, layout).sort());
    for (const [name, { shape, data }] of theirs) expect(data.length, name).toBe(shape.reduce((a, b) => a * b, 1));
    expect([...exportedShapes(config, layout)]).toEqual([...theirs].map(([name, { shape }]) => [name, shape]));
    expect(await imported(config, theirs)).toEqual(ours);
  });

  test('matrices are transposed, gate and up projection are the entries of one', async () => {
    const ours = numbered(moeModel);
    const theirs = await exported(moeModel, 'qkv', ours);
    const [d, h] = [8, 16];
    const gateUp = ours.get('blocks.1.moe.experts.gateUp')!; // [3, 2, 8, 16]
    const at = (e: number, part: number, i: number, o: number) => gateUp[((e * 2 + part) * d + i) * h + o];
    expect(theirs.get('blocks.1.moe.experts.2.gate_proj.weight')!.data[5 * d + 3]).toBe(at(2, 0, 3, 5));
    expect(theirs.get('blocks.1.moe.experts.2.up_proj.weight')!.data[5 * d + 3]).toBe(at(2, 1, 3, 5));
    expect(theirs.get('x_embedder.proj.weight')!.shape).toEqual([8, 2, 2, 2]);
    expect(theirs.get('pos_embed')!.data).toEqual(Float32Array.from(positionEmbedding(8, [2, 2])));
  });

  test('missing, unexpected and mis-shaped tensors are named', async () => {
    const theirs = await exported(moeModel, 'qkv');
    const without = new Map([...theirs].filter(([name]) => name !== 'blocks.0.moe.gate.weight'));
    await expect(imported(moeModel, without)).rejects.toThrow(/missing: blocks\.0\.moe\.gate\.weight/);
    const more = new Map([...theirs, ['extra', { shape: [1], data: new Float32Array(1) }]]);
    await expect(imported(moeModel, more)).rejects.toThrow(/unexpected: extra/);
    expect((await imported(moeModel, more, { strict: false })).size).toBe(Object.keys(weightSpecs(moeModel)).length);
    const odd = new Map([...theirs, ['x_embedder.proj.bias', { shape: [9], data: new Float32Array(9) }]]);
    await expect(imported(moeModel, odd)).rejects.toThrow(/x_embedder\.proj\.bias \[9\] instead of \[8\]/);
  });
});
