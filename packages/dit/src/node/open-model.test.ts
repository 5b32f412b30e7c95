import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { encodeTensor, TorchTensorSource } from '@dit-moe/tensor-ops/io';
import { hashFile, openCheckpoint, sealManifest, writeSafetensors, writeTorch } from '@dit-moe/tensor-ops/io/node';
import * as tf from '@tensorflow/tfjs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  cardOf,
  cardToMetadata,
  type DitConfig,
  dit,
  exportWeights,
  type Layout,
  loadParameters,
  type ModelCard,
  requireCard,
  weightSpecs,
} from '../index.js';
import { randomNumbers, someInputs, tiny, tinyDense } from '../testing/models.js';
import { openModel } from './index.js';

const root = fs.mkdtempSync(path.join(os.tmpdir(), 'open-model-'));
const fixture = (name: string) => fileURLToPath(new URL(`../../test/fixtures/${name}`, import.meta.url));
afterAll(() => fs.rmSync(root, { recursive: true }));
beforeAll(async () => void (await tf.setBackend('cpu')));

const square: DitConfig = { ...tiny, inputSize: [8, 8], learnSigma: true };
const { moe: _, ...squareDense } = square;
const card = (config: DitConfig): ModelCard => ({ config, objective: 'flow', timeScale: 1, classNames: ['a', 'b', 'c'], step: 7 });

/** Writes the manifest of a checkpoint's folder. */
async function seal(folder: string): Promise<void> {
  const files: Record<string, { bytes: number; sha256: string }> = {};
  for (const name of fs.readdirSync(folder)) {
    const file = path.join(folder, name);
    files[name] = { bytes: fs.statSync(file).size, sha256: await hashFile(file) };
  }
  fs.writeFileSync(path.join(folder, 'manifest.json'), JSON.stringify(sealManifest({ files })));
}

async function stateDict(config: DitConfig, layout: Layout, prefix = '') {
  const numbers = randomNumbers(config);
  const state: Record<string, TorchTensorSource> = {};
  for await (const [name, { shape, data }] of exportWeights(config, layout, async (n) => numbers[n].data))
    state[prefix + name] = new TorchTensorSource('F32', shape, () => encodeTensor(data, 'F32'));
  return state;
}
async function weightsOf(location: string, options = {}) {
  const model = await openModel(location, options);
  const weights: Record<string, Float32Array> = {};
  try {
    for await (const [name, { data }] of model.weights()) weights[name] = data;
  } finally {
    await model.close();
  }
  return { model, weights };
}
const expected = (config: DitConfig) => Object.fromEntries(Object.entries(randomNumbers(config)).map(([name, { data }]) => [name, data]));
const own = (file: string, config: DitConfig, prefix = '', numbers = randomNumbers(config)) =>
  writeSafetensors(
    file,
    Object.entries(numbers).map(([name, { shape, data }]) => ({
      name: prefix + name,
      dtype: 'F32' as const,
      shape,
      bytes: () => encodeTensor(data, 'F32'),
    })),
    cardToMetadata(card(config)),
  );

describe('openModel', () => {
  test.each<[string, DitConfig, Layout, string]>([
    ['DiT-MoE of the DDP trainer', square, 'qkv', ''],
    ['DiT-MoE with flash attention, wrapped', { ...square, qkNorm: true }, 'flash', 'module._orig_mod.'],
    ["Meta's dense DiT", squareDense, 'qkv', ''],
    ['experts in some layers', { ...square, moe: { ...square.moe!, layers: [1] } }, 'qkv', ''],
  ])('a .pt of %s: same configuration, same bits', async (_name, config, layout, prefix) => {
    const file = path.join(root, 'x.pt');
    const args = { model: 'DiT-S/2', image_size: 64, num_classes: 3, num_experts_per_tok: 2 };
    await writeTorch(file, { ema: await stateDict(config, layout, prefix), args });
    const { model, weights } = await weightsOf(file, { config: { numHeads: 2 } });
    expect(model.config).toEqual(config);
    expect(model.layout).toBe(layout);
    expect(model.card).toBeUndefined();
    expect(weights).toEqual(expected(config));
  });

  test.each(['_orig_mod', '_checkpoint_wrapped_module', '_fsdp_wrapped_module'])('blocks wrapped one by one: %s', async (wrapper) => {
    const file = path.join(root, 'wrapped.pt');
    const state = Object.entries(await stateDict(square, 'qkv'));
    await writeTorch(file, {
      ema: Object.fromEntries(state.map(([name, value]) => [name.replace(/^(blocks.\d+.)/, `$1${wrapper}.`), value])),
    });
    expect((await weightsOf(file, { config: { numHeads: 2 } })).weights).toEqual(expected(square));
  });

  test('what is not recorded is assumed and said, or asked for', async () => {
    const file = path.join(root, 'bare.pt');
    await writeTorch(file, await stateDict(square, 'qkv'));
    await expect(openModel(file)).rejects.toThrow(/numHeads/);
    const { model } = await weightsOf(file, { config: { numHeads: 2 } });
    expect(model.config).toEqual(square);
    expect(model.assumed.join()).toMatch(/3 classes and a null label.*2 experts per token/);
  });

  test('our own files and run folders, the averages by default', async () => {
    const run = path.join(root, 'run');
    for (const step of ['step-00000001', 'step-00000002']) {
      fs.mkdirSync(path.join(run, 'checkpoints', step), { recursive: true });
      await own(path.join(run, 'checkpoints', step, 'ema.safetensors'), tiny, 'ema.0.9999.');
      await own(path.join(run, 'checkpoints', step, 'weights.safetensors'), tiny, '', randomNumbers(tiny, 0.1));
      await seal(path.join(run, 'checkpoints', step));
    }
    const { model, weights } = await weightsOf(run);
    expect(model.path).toMatch(/step-00000002\/ema\.safetensors$/);
    expect(model.card).toEqual(card(tiny));
    expect(weights).toEqual(expected(tiny));
    const last = await weightsOf(path.join(run, 'checkpoints/step-00000001'), { weights: 'weights' });
    expect(last.weights).not.toEqual(weights);
    await expect(openModel(run, { weights: 'best' })).rejects.toThrow(/one of ema, weights/);
  });

  test('a damaged checkpoint is passed over with a line, and refused where it is asked for', async () => {
    const run = path.join(root, 'damaged');
    const folder = (step: number) => path.join(run, 'checkpoints', `step-0000000${step}`);
    for (const step of [1, 2]) {
      fs.mkdirSync(folder(step), { recursive: true });
      await own(path.join(folder(step), 'ema.safetensors'), tiny);
      await seal(folder(step));
    }
    // One being written, or left by another program.
    fs.mkdirSync(folder(3));
    const flip = (file: string) => {
      const bytes = fs.readFileSync(file);
      bytes[bytes.length - 1] ^= 1;
      fs.writeFileSync(file, bytes);
    };
    const newest = path.join(folder(2), 'ema.safetensors');
    flip(newest);
    const warnings: string[] = [];
    const { model } = await weightsOf(run, { onWarning: (line: string) => warnings.push(line) });
    expect(model.path).toBe(path.join(folder(1), 'ema.safetensors'));
    expect(warnings).toEqual([expect.stringMatching(/step-00000003.*cannot be read/), expect.stringMatching(/step-00000002.*sha256/)]);
    for (const asked of [folder(2), newest]) await expect(openModel(asked)).rejects.toMatchObject({ code: 'E_CHECKPOINT_DAMAGED' });
    flip(path.join(folder(1), 'ema.safetensors'));
    await expect(openModel(run, { onWarning() {} })).rejects.toThrow(/No checkpoint in .* is whole/);
  });

  test('missing, unexpected and mis-shaped tensors are listed before anything is read; strict can be switched off', async () => {
    const numbers = randomNumbers(tiny);
    delete numbers['blocks.0.moe.gate'];
    numbers['blocks.1.moe.gate'].shape = [4, 16];
    numbers['extra'] = { shape: [1], data: new Float32Array(1) };
    const file = path.join(root, 'odd.safetensors');
    await own(file, tiny, '', numbers);
    await expect(weightsOf(file)).rejects.toMatchObject({
      code: 'E_WEIGHTS_MISMATCH',
      missing: ['blocks.0.moe.gate'],
      unexpected: ['extra'],
      misshaped: ['blocks.1.moe.gate [4, 16] instead of [16, 4]'],
    });
    await own(file, tiny, '', { ...randomNumbers(tiny), extra: { shape: [1], data: new Float32Array(1) } });
    await expect(weightsOf(file)).rejects.toThrow(/strict: false/);
    expect((await weightsOf(file, { strict: false })).weights).toEqual(expected(tiny));
  });

  test.each([
    ['torch.optim.swa_utils.AveragedModel', 'ema', ['module.'], { n_averaged: [] }],
    ['Lightning', 'state_dict', ['model.'], {}],
    ['ema-pytorch', 'ema', ['online_model.', 'ema_model.'], { initted: [], step: [] }],
  ])('weights of %s are found behind their names, and what lies beside them is named', async (_name, entry, prefixes, beside) => {
    const file = path.join(root, 'wrapped.ckpt');
    const states = await Promise.all(prefixes.map((prefix) => stateDict(square, 'qkv', prefix)));
    const others = Object.entries(beside).map(([name, shape]) => [name, new TorchTensorSource('F32', shape, () => new Uint8Array(4))]);
    const args = { num_heads: 2, num_classes: 3 };
    await writeTorch(file, { [entry]: Object.assign({}, ...states, Object.fromEntries(others)), args });
    const { model, weights } = await weightsOf(file);
    expect(model.config).toEqual(square);
    expect(weights).toEqual(expected(square));
    expect(model.skipped).toEqual(
      expect.arrayContaining([...Object.keys(beside), ...prefixes.slice(0, -1).map((prefix) => `${prefix}pos_embed`)]),
    );
  });

  test('a PyTorch file that is called .safetensors is read as what it is, a pointer of Git LFS named', async () => {
    const file = path.join(root, 'renamed.safetensors');
    await writeTorch(file, { ema: await stateDict(square, 'qkv'), args: { num_heads: 2 } });
    expect((await weightsOf(file)).weights).toEqual(expected(square));
    for (const name of ['pointer.safetensors', 'pointer.pt']) {
      fs.writeFileSync(path.join(root, name), `version https://git-lfs.github.com/spec/v1\noid sha256:${'4d'.repeat(32)}\nsize 12345\n`);
      await expect(openModel(path.join(root, name))).rejects.toThrow(/git lfs pull/);
    }
    const parts = path.join(root, 'distributed');
    fs.mkdirSync(parts);
    for (const name of ['.metadata', '__0_0.distcp']) fs.writeFileSync(path.join(parts, name), '');
    await expect(openModel(parts)).rejects.toThrow(/dcp_to_torch/);
  });

  test('a table of positions that is not the computed one is used, and stays in the export', async () => {
    const state = await stateDict(square, 'qkv');
    const table = Float32Array.from({ length: 16 * 16 }, (_, i) => Math.sin(i) / 2);
    state['pos_embed'] = new TorchTensorSource('F32', [1, 16, 16], () => encodeTensor(table, 'F32'));
    const file = path.join(root, 'positions.pt');
    await writeTorch(file, { ema: state, args: { num_heads: 2 } });
    const { model, weights } = await weightsOf(file);
    expect(model.config).toEqual({ ...square, positions: 'stored' });
    expect(model.assumed.join()).toMatch(/table of positions/);
    expect(weights).toEqual({ ...expected(square), positions: table });
    for await (const [name, { data }] of exportWeights(model.config, 'qkv', async (n) => weights[n]))
      if (name === 'pos_embed') expect(data).toEqual(table);
    const tensors = Object.fromEntries(
      Object.entries(weights).map(([name, data]) => [name, tf.tensor(data, weightSpecs(model.config)[name].shape)]),
    );
    const [x, t, y] = someInputs(square);
    const outputs = [square, model.config].map((config) => dit(tensors, config, x, t, y).output.dataSync());
    expect(outputs[0]).not.toEqual(outputs[1]);
  });

  test('what SiT and DiT-MoE record of their training is taken, and must not be contradicted', async () => {
    const file = path.join(root, 'recorded.pt');
    const cardWith = async (args: object, training = {}, config = squareDense) => {
      await writeTorch(file, { ema: await stateDict(config, 'qkv'), args: { num_heads: 2, ...args } });
      const model = await openModel(file);
      await model.close();
      return cardOf(model, training).card;
    };
    expect(await cardWith({ path_type: 'GVP', prediction: 'velocity' })).toMatchObject({
      objective: 'flow',
      convention: 'sit',
      guidedChannels: 3,
      objectiveOptions: { kind: 'flow', path: 'gvp', prediction: 'velocity' },
    });
    await expect(cardWith({ path_type: 'Spline' })).rejects.toThrow(/Linear, GVP, VP/);
    expect((await cardWith({ rf: true }, {}, square)).objective).toBe('flow');
    expect((await cardWith({ rf: false }, {}, square)).objective).toBe('ddpm');
    await expect(cardWith({ rf: true }, { objective: 'ddpm' }, square)).rejects.toThrow(/objective is "flow", needed "ddpm"/);
  });

  test('other weights are refused with their names', async () => {
    const file = path.join(root, 'other.safetensors');
    await writeSafetensors(file, [{ name: 'conv.weight', dtype: 'F32', shape: [1], bytes: () => new Uint8Array(4) }]);
    await expect(openModel(file)).rejects.toThrow(/conv\.weight/);
  });

  test("diffusers' folder gives diffusers' outputs, and goes back bit for bit", async () => {
    const model = await openModel(fixture('diffusers-dit'));
    expect(model.config).toMatchObject({ hiddenSize: 16, depth: 2, numHeads: 2, numClasses: 5, learnSigma: true, inputSize: [8, 8] });
    expect(model.assumed.join()).toMatch(/timestep frequencies/);
    const parameters = await loadParameters(model);
    const reference = await openCheckpoint(fixture('diffusers-dit.expected.safetensors'));
    const tensor = async (name: string, type: 'float32' | 'int32' = 'float32') => {
      const { data, shape } = await reference.read(name);
      return tf.tensor(data as Float32Array, shape, type);
    };
    const weights = Object.fromEntries(Object.entries(parameters).map(([name, p]) => [name, p.read()]));
    const output = dit(weights, model.config, await tensor('x'), await tensor('t'), await tensor('y', 'int32')).output.dataSync();
    // Its block norm has epsilon 1e-5, ours 1e-6 as DiT; at unit variance that is 5e-6 relative per norm.
    const wanted = (await tensor('out')).dataSync();
    expect(output).toBeCloseTensor(wanted, 1e-4, 0);
    for await (const [name, { shape, data }] of exportWeights(
      model.config,
      'diffusers',
      async (n) => weights[n].dataSync() as Float32Array,
    )) {
      const original = await model.checkpoint.read(name);
      expect(original.shape).toEqual([...shape]);
      expect(original.data).toEqual(data);
    }
    await model.close();
    await reference.close();
  });

  test('blocks with embedders of their own are read as such, and go out again', async () => {
    const config: DitConfig = { ...squareDense, timestepFrequencies: 'diffusers', blockEmbedders: true };
    const file = path.join(root, 'own-embedders.pt');
    await writeTorch(file, await stateDict(config, 'diffusers'));
    const { model, weights } = await weightsOf(file, { config: { numHeads: 2, inputSize: [8, 8] } });
    expect(model.config.blockEmbedders).toBe(true);
    expect(weights).toEqual(expected(config));
  });

  test('embedders that differ in some of their weights only are refused', async () => {
    const state = await stateDict({ ...squareDense, timestepFrequencies: 'diffusers' }, 'diffusers');
    const name = 'transformer_blocks.1.norm1.emb.class_embedder.embedding_table.weight';
    const other = state[name];
    state[name] = new TorchTensorSource('F32', other.shape, () => new Uint8Array(other.shape.reduce((a, b) => a * b, 4)));
    const file = path.join(root, 'embedders.pt');
    await writeTorch(file, state);
    await expect(weightsOf(file, { config: { numHeads: 2, inputSize: [8, 8] } })).rejects.toThrow(/one embedder for all blocks/);
  });

  test('a layout that cannot say it refuses', async () => {
    await expect(stateDict(tiny, 'diffusers')).rejects.toThrow(/experts/);
    await expect(stateDict({ ...tinyDense, norm: 'rms' }, 'qkv')).rejects.toThrow(/RMSNorm/);
    await expect(stateDict(squareDense, 'diffusers')).rejects.toThrow(/timestep frequencies.*model\.timestepFrequencies: diffusers/);
    await expect(stateDict(tiny, 'qkv')).rejects.toThrow(/8 x 4/);
  });
});

test('bfloat16 weights are rounded matrices, everything else stays', async () => {
  const file = path.join(root, 'own.safetensors');
  await own(file, tiny);
  const model = await openModel(file);
  const names: string[] = [];
  const parameters = await loadParameters(model, { precision: 'bf16', onProgress: (name) => names.push(name) });
  await model.close();
  expect(names.length).toBe(Object.keys(parameters).length);
  const kinds = (dtype: string) =>
    Object.values(parameters)
      .filter((p) => p.dtype === dtype)
      .map((p) => p.name);
  expect(kinds('bfloat16').every((name) => /(weight|gateUp|down)$/.test(name))).toBe(true);
  expect(kinds('float32')).toContain('blocks.0.moe.gate');
  for (const parameter of Object.values(parameters)) parameter.dispose();
});

test('a model that is not what is needed is refused with every difference', () => {
  const model = card(tiny);
  expect(() => requireCard(model, { objective: 'flow', timeScale: 1, numClasses: 3, nullLabel: true }, 'm')).not.toThrow();
  const latents = { scalingFactor: 0.18215, shiftFactor: 0, downsampling: 8, vae: 'abc' };
  expect(() => requireCard(model, { objective: 'ddpm', latents, numClasses: 10 }, 'm')).toThrow(
    /objective is "flow", needed "ddpm"; latents is none.*numClasses is 3, needed 10/,
  );
  expect(() => requireCard({ ...model, config: { ...tiny, nullLabel: false } }, { nullLabel: true }, 'm')).toThrow(/nullLabel is false/);
});

test('how a model of others was trained is told by its user, unless it is a dense one', () => {
  const path = 'm';
  expect(() => cardOf({ path, config: tiny })).toThrow(/m: objective.*XL\/2 and G\/2/);
  expect(cardOf({ path, config: tiny }, { objective: 'flow' }).card).toMatchObject({ objective: 'flow', timeScale: 1, classNames: [] });
  expect(cardOf({ path, config: tinyDense })).toMatchObject({ card: { objective: 'ddpm' }, assumed: [expect.stringMatching(/SiT/)] });
  expect(cardOf({ path, config: tinyDense }, { convention: 'sit' })).toMatchObject({
    card: { objective: 'flow', convention: 'sit', guidedChannels: 3 },
    assumed: [],
  });
  const own = card(tiny);
  expect(cardOf({ path, config: tiny, card: own }).card).toBe(own);
  expect(() => cardOf({ path, config: tiny, card: own }, { objective: 'ddpm' })).toThrow(/objective is "flow", needed "ddpm"/);
});
