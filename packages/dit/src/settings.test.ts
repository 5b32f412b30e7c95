import { SettingsError } from '@dit-moe/tensor-ops/settings';
import { expect, test } from 'vitest';
import { undescribed } from '../../../testing/undescribed.js';
import type { DitConfig } from './config.js';
import type { MoeConfig } from './moe/moe-config.js';
import { preset } from './presets.js';
import { ditSettings, parseDitConfig } from './settings.js';

/** All fields but `classTokens`, which are for models without experts. */
const whole: Required<Omit<DitConfig, 'classTokens'>> = {
  ...{
    inputSize: [8, 4],
    patchSize: 2,
    inChannels: 3,
    patchBottleneck: 6,
    hiddenSize: 16,
    depth: 2,
    numHeads: 2,
    mlpRatio: 4,
    numClasses: 5,
    learnSigma: true,
  },
  ...{
    nullLabel: 2,
    qkNorm: true,
    norm: 'rms',
    rotary: true,
    mlp: 'swiglu',
    positionGrid: [2, 2],
    positions: 'stored',
    timestepFrequencies: 'diffusers',
    blockEmbedders: true,
  },
  moe: {
    ...{ numExperts: 4, topK: 2, scoreFunction: 'sigmoid', groups: { count: 2, keep: 1 }, normalizeTopK: true, weightScale: 2.5 },
    ...{ experts: 'gelu', expertRatio: 1, sharedRatio: 0, balanceAlpha: 0, layers: [1], balanceOver: 'image' },
  },
};

test('what a configuration may hold is read as it is', () => {
  const json = JSON.parse(JSON.stringify(whole));
  expect(parseDitConfig(json)).toEqual(whole);
  expect(parseDitConfig({ ...json, nullLabel: false, moe: { ...json.moe, layers: { every: 2 } } })).toMatchObject({
    moe: { layers: { every: 2 } },
  });
  const dense = { ...json, moe: undefined, classTokens: { count: 2, from: 1 } };
  expect(parseDitConfig(dense)).toEqual(dense);
  for (const name of ['S/2', 'XL/2-8E2A', 'G/2-16E2A']) expect(parseDitConfig(preset(name))).toEqual(preset(name));
});

test.each<[object, string]>([
  [{ norm: 'rsm' }, 'norm: expected layer or rms, found "rsm". Did you mean rms?'],
  [{ hidenSize: 8 }, 'hidenSize: is not a setting. Did you mean hiddenSize?'],
  [{ moe: { ...whole.moe, topk: 2 } }, 'moe.topk: is not a setting. Did you mean moe.topK?'],
  [{ depth: undefined }, 'depth: expected an integer of at least 1, found nothing.'],
  [{ moe: { ...whole.moe, layers: 'deephalf' } }, 'Did you mean deepHalf?'],
])('%j is refused', (change, message) => {
  expect(() => parseDitConfig({ ...whole, ...change }, 'model.json')).toThrow(SettingsError);
  expect(() => parseDitConfig({ ...whole, ...change }, 'model.json')).toThrow(message);
});

test('fields that do not fit each other are refused', () => {
  expect(() => parseDitConfig({ ...whole, hiddenSize: 15 })).toThrow(/hiddenSize: expected a multiple of numHeads 2/);
  expect(() => parseDitConfig({ ...whole, moe: { ...whole.moe, topK: 5 } })).toThrow(/topK: expected at most numExperts 4/);
});

test('a router may be called by its paper, and the balance loss stand among the others', () => {
  const moe = { numExperts: 4, topK: 1, expertRatio: 1, sharedRatio: 0 };
  const read = (more: object): MoeConfig | undefined => parseDitConfig({ ...whole, moe: { ...moe, ...more } }).moe;
  expect(read({ router: 'dsmoe', weightScale: 1 })).toEqual({
    ...moe,
    ...{ router: 'token', scoreFunction: 'sigmoid', normalizeTopK: true, weightScale: 1, loadBias: 0.001, balanceAlpha: 0 },
  });
  expect(read({ router: 'promoe' })).toMatchObject({ router: 'prototypes', nullExpert: true });
  expect(read({ router: 'diffmoe' })).toMatchObject({ router: 'threshold' });
  expect(read({ losses: { balance: 0.02, z: 0.1 } })).toEqual({ ...moe, balanceAlpha: 0.02, losses: { z: 0.1 } });
  expect(() => read({ balanceAlpha: 0.01, losses: { balance: 0.02 } })).toThrow('moe.losses.balance: expected either this or balanceAlpha');
  expect(() => read({ router: 'diffmo', balanceAlpha: 0 })).toThrow('Did you mean diffmoe?');
});

test('every setting has a description, and those without a default are required', () => {
  expect(undescribed(ditSettings.schema)).toEqual([]);
  expect(ditSettings.schema['required']).toEqual([
    'inputSize',
    'patchSize',
    'inChannels',
    'hiddenSize',
    'depth',
    'numHeads',
    'mlpRatio',
    'numClasses',
    'learnSigma',
  ]);
});
