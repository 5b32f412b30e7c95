import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { AdamW, Parameter } from '@dit-moe/tensor-ops';
import { encodeTensor, TorchCheckpoint, TorchTensorSource } from '@dit-moe/tensor-ops/io';
import { FileSource, openCheckpoint, writeTorch } from '@dit-moe/tensor-ops/io/node';
import * as tf from '@tensorflow/tfjs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  type DitConfig,
  exportWeights,
  importAdam,
  type ModelCard,
  restoreAdam,
  upcycle,
  type WeightStream,
  weightSpecs,
} from '../index.js';
import { randomNumbers, tiny } from '../testing/models.js';
import { openModel, writeModel } from './index.js';

const root = fs.mkdtempSync(path.join(os.tmpdir(), 'write-model-'));
afterAll(() => fs.rmSync(root, { recursive: true }));
beforeAll(async () => void (await tf.setBackend('cpu')));

const config: DitConfig = { ...tiny, inputSize: [8, 8], learnSigma: true };
const { moe: _, ...dense } = config;
const card: ModelCard = { config, objective: 'ddpm', timeScale: 1, classNames: ['a', 'b', 'c'], step: 3, emaDecay: 0.9999 };
const stream = (model: DitConfig): WeightStream => ({
  config: model,
  async *weights() {
    for (const [name, value] of Object.entries(randomNumbers(model))) yield [name, value];
  },
});
async function read(location: string): Promise<{ config: DitConfig; card: ModelCard | undefined; weights: Record<string, Float32Array> }> {
  const model = await openModel(location);
  const weights: Record<string, Float32Array> = {};
  for await (const [name, { data }] of model.weights()) weights[name] = data;
  await model.close();
  return { config: model.config, card: model.card, weights };
}
const numbers = (model: DitConfig) => Object.fromEntries(Object.entries(randomNumbers(model)).map(([name, { data }]) => [name, data]));

describe('writeModel', () => {
  test.each([
    ['model.safetensors', {}, config],
    ['folder', {}, config],
    ['model.pt', { layout: 'qkv' }, config],
    ['flash.pt', { layout: 'flash' }, { ...config, qkNorm: true }],
    ['dense.pt', { layout: 'qkv' }, dense],
    ['theirs.safetensors', { layout: 'qkv' }, config],
    ['diffusers', { layout: 'diffusers' }, { ...dense, timestepFrequencies: 'diffusers' }],
  ] as [string, object, DitConfig][])('%s: written and opened again, identical bits', async (name, options, model) => {
    const file = await writeModel(path.join(root, name), stream(model), { card: { ...card, config: model }, ...options });
    const back = await read(name.includes('.') ? file : path.join(root, name));
    expect(back.config).toEqual(model);
    expect(back.weights).toEqual(numbers(model));
  });

  test('a file of this project carries its card; half precision is for matrices only', async () => {
    const done: string[] = [];
    const file = path.join(root, 'half.safetensors');
    await writeModel(file, stream(config), { card, dtype: 'BF16', onProgress: ({ name }) => done.push(name) });
    expect(done).toEqual(Object.keys(weightSpecs(config)));
    expect((await read(file)).card).toEqual(card);
    const checkpoint = await openCheckpoint(file);
    expect(checkpoint.info('blocks.0.attention.qkv.weight').dtype).toBe('BF16');
    expect(checkpoint.info('blocks.0.moe.gate').dtype).toBe('F32');
    await checkpoint.close();
    const torch = await openCheckpoint(await writeModel(path.join(root, 'half.pt'), stream(config), { layout: 'qkv', dtype: 'F16' }));
    expect(torch.info('blocks.1.moe.experts.3.up_proj.weight').dtype).toBe('F16');
    expect(torch.info('blocks.1.moe.gate.weight').dtype).toBe('F32');
    await torch.close();
  });

  test('an upcycled model is written as it is made', async () => {
    const model = upcycle(stream(dense), { numExperts: 4, topK: 2, normalizeTopK: true });
    const file = await writeModel(path.join(root, 'upcycled.safetensors'), model, { card });
    expect((await read(file)).config).toEqual(model.config);
    await expect(writeModel(path.join(root, 'x.pt'), model, { layout: 'qkv' })).rejects.toThrow(/GELU experts/);
  });

  test('a file of this project without a card is refused, a failure keeps the older file', async () => {
    await expect(writeModel(path.join(root, 'y.safetensors'), stream(config))).rejects.toThrow(/card/);
    const file = path.join(root, 'kept.safetensors');
    await writeModel(file, stream(config), { card });
    const before = fs.readFileSync(file);
    const broken: WeightStream = {
      config,
      async *weights() {
        yield ['blocks.0.moe.gate', { shape: [1], data: new Float32Array(1) }];
      },
    };
    await expect(writeModel(file, broken, { card })).rejects.toThrow(/order of weightSpecs/);
    expect(fs.readFileSync(file).equals(before)).toBe(true);
  });
});

test("PyTorch's AdamW state becomes ours, tensor by tensor; parameters that never had a gradient get zeros", async () => {
  const values = randomNumbers(config);
  const names: string[] = [];
  const model: Record<string, TorchTensorSource> = {};
  const state = new Map<number, Record<string, number | TorchTensorSource>>();
  for await (const [name, { shape, data }] of exportWeights(config, 'qkv', async (n) => values[n].data)) {
    const source = (factor: number) =>
      new TorchTensorSource('F32', shape, () =>
        encodeTensor(
          data.map((v) => v * factor),
          'F32',
        ),
      );
    model[name] = source(1);
    if (name !== 'pos_embed' && name !== 'blocks.0.moe.gate.weight')
      state.set(names.length, { step: 5, exp_avg: source(2), exp_avg_sq: source(4) });
    names.push(name);
  }
  const group = { lr: 1e-4, betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.01, params: names.map((_, i) => i) };
  const file = path.join(root, 'opt.pt');
  await writeTorch(file, {
    model,
    opt: new Map<string, never>([
      ['state', state as never],
      ['param_groups', [group] as never],
    ]),
  });
  const opened = await TorchCheckpoint.open(await FileSource.open(file));
  const imported = await importAdam(config, opened.file, file);
  expect(imported).toMatchObject({ step: 5, learningRate: 1e-4, betas: [0.9, 0.999], epsilon: 1e-8, weightDecay: 0.01 });
  const parameters = Object.fromEntries(
    Object.entries(values).map(([name, { shape, data }]) => [name, new Parameter(name, tf.tensor(data, shape))]),
  );
  const optimizer = new AdamW(parameters);
  await restoreAdam(optimizer, imported);
  for (const [name, { data }] of Object.entries(values)) {
    const factor = name === 'blocks.0.moe.gate' ? 0 : 1;
    expect(Array.from(await optimizer.firstMoments.parameters[name].data()), name).toEqual(
      Array.from(data, (v) => factor * Math.fround(2 * v) || 0),
    );
    expect(Array.from(await optimizer.secondMoments.parameters[name].data()), name).toEqual(
      Array.from(data, (v) => factor * Math.fround(4 * v) || 0),
    );
  }
  expect((await optimizer.step.data())[0]).toBe(5);
  await opened.close();
});
