/** Files of LightningDiT and SiT against their forward pass and their sampling, written out in float64. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { randomNormal } from '@dit-moe/tensor-ops';
import { encodeTensor, TorchTensorSource } from '@dit-moe/tensor-ops/io';
import { writeTorch } from '@dit-moe/tensor-ops/io/node';
import * as tf from '@tensorflow/tfjs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { cardOf, exportWeights, loadDit } from '../index.js';
import { type LightningOptions, lightningForward, lightningState, type State } from '../testing/lightning-reference.js';
import { openModel } from './index.js';

const root = fs.mkdtempSync(path.join(os.tmpdir(), 'lightning-'));
beforeAll(async () => void (await tf.setBackend('cpu')));
afterAll(() => fs.rmSync(root, { recursive: true }));

const base = { channels: 4, side: 8, patch: 2, width: 16, depth: 2, heads: 2 };
const released: LightningOptions = { ...base, rms: true, rope: true, swiglu: true };
const random = (name: string, length: number) => randomNormal({ seed: 1, purpose: name, index: 0 }, length);
const config = { transport: { path_type: 'Linear', prediction: 'velocity' }, model: { model_type: 'LightningDiT-XL/1' } };

async function fileOf(state: State, more: object = { config }): Promise<string> {
  const file = path.join(root, `${Object.keys(fs.readdirSync(root)).length}.pt`);
  const tensors = Object.fromEntries(
    Object.entries(state).map(([name, { shape, data }]) => [name, new TorchTensorSource('F32', shape, () => encodeTensor(data, 'F32'))]),
  );
  await writeTorch(file, { ema: tensors, ...more });
  return file;
}

describe.each<[string, LightningOptions, string, object]>([
  ['LightningDiT', released, 'lightning', { config }],
  ['LightningDiT with GELU', { ...released, swiglu: false }, 'lightning', { config }],
  ['LightningDiT without rotary positions', { ...released, rope: false }, 'lightning', { config }],
  [
    'SiT',
    { ...base, rms: false, rope: false, swiglu: false },
    'qkv',
    { args: { path_type: 'Linear', prediction: 'velocity', num_heads: 2 } },
  ],
])('%s', (_, options, layout, recorded) => {
  const state = lightningState(options, 5, random);
  const image = (b: number) => randomNormal({ seed: 2, purpose: 'x', index: b }, 4 * 64);

  test('computes what its own code does', async () => {
    const model = await openModel(await fileOf(state, recorded), options.rope ? {} : { config: { numHeads: 2, inputSize: [8, 8] } });
    expect(model.layout).toBe(layout);
    const { card } = cardOf(model);
    expect(card).toMatchObject({ objective: 'flow', convention: 'sit', guidedChannels: 3, config: { numClasses: 5, numHeads: 2 } });
    const dit = await loadDit(model, card);
    await model.close();
    const [times, labels] = [
      [0.1, 0.73],
      [3, 5],
    ];
    const x = tf.tensor([...image(0), ...image(1)], [2, 4, 8, 8]);
    // The path's time runs from clean images to noise, theirs from noise; velocities have opposite signs.
    const output = dit.apply(x, tf.tensor1d(times.map((t) => 1 - t)), tf.tensor1d(labels, 'int32')).output;
    const expected = times.flatMap((t, b) => lightningForward(state, options, image(b), t, labels[b]).map((v) => -v));
    // float32 against float64: some hundred operations of 6e-8 each.
    expect(output.dataSync()).toBeCloseTensor(expected, 2e-5, 0);
    dit.dispose();
  });
});

test('goes out again with the same bits, and is described as what it is', async () => {
  const state = lightningState(released, 5, random);
  const model = await openModel(await fileOf(state, {}));
  expect(model.assumed).toContainEqual(expect.stringMatching(/velocity on the linear path/));
  expect(model.config).toMatchObject({ norm: 'rms', rotary: true, mlp: 'swiglu-bias', hiddenSize: 16, inputSize: [8, 8] });
  const weights = new Map<string, Float32Array>();
  for await (const [name, { data }] of model.weights()) weights.set(name, data);
  await model.close();
  const names: string[] = [];
  for await (const [name, { shape, data }] of exportWeights(model.config, 'lightning', async (n) => weights.get(n)!)) {
    names.push(name);
    if (name !== 'pos_embed') expect({ shape: [...shape], data }, name).toEqual(state[name]);
  }
  expect(names.sort()).toEqual(['pos_embed', ...Object.keys(state).filter((name) => !name.startsWith('feat_rope'))].sort());
});

test('other rotary positions and blocks without shifts are refused', async () => {
  const state = lightningState(released, 5, random);
  const turned = { ...state['feat_rope.freqs_cos'], data: state['feat_rope.freqs_cos'].data.map((v) => v * 0.9) };
  await expect(openModel(await fileOf({ ...state, 'feat_rope.freqs_cos': turned }))).rejects.toThrow(/freqs_cos: expected the rotary/);
  const name = 'blocks.0.adaLN_modulation.1.weight';
  const model = await openModel(await fileOf({ ...state, [name]: { shape: [64, 16], data: new Float32Array(64 * 16) } }));
  await expect(model.weights().next()).rejects.toThrow(/adaLN_modulation.1.weight \[64, 16\] instead of \[96, 16\]/);
  await model.close();
});
