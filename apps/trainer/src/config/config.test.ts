import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { countWeights, preset as ditPreset } from '@dit-moe/dit';
import { afterAll, expect, test } from 'vitest';
import YAML from 'yaml';
import { countSettings, undescribed } from '../../../../testing/undescribed.js';
import { learningRateAt } from './learning-rate.js';
import { presets } from './presets.js';
import { modelConfig, resolveConfig } from './resolve.js';
import { jsonSchema, trainSettings } from './schema.js';

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'config-'));
afterAll(() => fs.rmSync(folder, { recursive: true }));

test.each([
  [['steps=many'], /steps: expected an integer of at least 1, found "many"/],
  [['batchsize=3'], /batchsize: is not a setting\. Did you mean batchSize\?/],
  [['model.norm=rsm'], /model\.norm: .* Did you mean rms\?/],
  [['stepz=3'], /stepz: is not a setting\. Did you mean steps\?/],
  [['qqq=3'], /qqq: is not a setting\. Settings: .*steps, /],
  [['model.moe.expert=3'], /Did you mean model\.moe\.experts\?/],
  [['model.moe.zzz=3'], /Settings of model\.moe: numExperts, topK/],
  [['objective.pth=linear'], /Did you mean objective\.path\?/],
  [['objective.kind=fow'], /objective\.kind: expected flow or ddpm/],
  [['optimizer.learningRate=-1'], /optimizer\.learningRate/],
  [['batchSize=5', 'accumulation=2'], /accumulation: expected a divisor of batchSize 5, found 2/],
  [['steps'], /key=value/],
  [['model=[1'], /not YAML/],
  [['ema=[0.9,0.9]'], /ema: expected every rate once/],
  [['validation={every: 5}'], /validation: expected either a path or a share, found/],
  [['validation={share: 0.1, path: a}'], /validation: expected either a path or a share, found .*0\.1/],
  [['validation={share: 0.1, samples: 3}'], /validation\.samples: expected at least 4/],
  [['checkpoints.keep=1'], /checkpoints\.keep/],
  [['sampling.guidanceRule=agp'], /Did you mean apg\?/],
  [['sampling.guidanceRule=apg:momentum=-0.5', 'sampling.solver=heun'], /momentum/],
])('%s is refused', (overrides, message) => {
  expect(() => resolveConfig({ preset: 'digits', overrides })).toThrow(message);
});

test('a file may name its preset; overrides win over the file, the file over the preset', () => {
  const file = path.join(folder, 'a.yaml');
  fs.writeFileSync(file, 'preset: digits\nsteps: 7\noptimizer: {learningRate: 0.5, clipNorm: 2}\n');
  const config = resolveConfig({ file, overrides: ['optimizer.learningRate=0.25', 'ema=0.5', 'model.moe=null'] });
  expect(config.model.moe).toBeUndefined();
  expect(config).toMatchObject({
    steps: 7,
    batchSize: 128,
    ema: [0.5],
    optimizer: { learningRate: 0.25, clipNorm: 2, schedule: 'cosine' },
  });
  // What is written into the run folder gives the same again.
  const again = path.join(folder, 'b.json');
  fs.writeFileSync(again, JSON.stringify(config));
  expect(resolveConfig({ file: again })).toEqual(config);
  fs.writeFileSync(file, 'preset: nowhere\n');
  expect(() => resolveConfig({ file })).toThrow(/no preset "nowhere"/);
});

test.each(Object.keys(presets))('%s is a valid start', (preset) => {
  const config = resolveConfig({ preset });
  expect(YAML.parse(YAML.stringify(config))).toEqual(config);
});

test('the paper and its code differ where they do, and have the published sizes', () => {
  const paper = resolveConfig({ preset: 'paper-xl-2-8e2a-256' });
  expect(paper).toMatchObject({
    batchSize: 1024,
    labelDropout: 0.1,
    ema: [0.9999],
    data: { flip: true },
    optimizer: { learningRate: 1e-4, schedule: 'constant', weightDecay: 0 },
    objective: { kind: 'flow', learnSigma: true },
  });
  expect(resolveConfig({ preset: 'paper-l-2-8e2a-256' })).toMatchObject({
    objective: { kind: 'ddpm', learnSigma: true },
    sampling: { solver: 'ddim' },
  });
  const latents = { channels: 4, height: 32, width: 32, classNames: Array<string>(1000).fill('') };
  expect(countWeights(modelConfig(paper, latents))).toBe(countWeights({ ...ditPreset('XL/2-8E2A'), qkNorm: true }));
  expect(modelConfig(paper, latents)).toEqual({
    ...ditPreset('XL/2-8E2A', { flavour: 'paper' }),
    qkNorm: true,
    moe: { ...ditPreset('XL/2-8E2A', { flavour: 'paper' }).moe, balanceOver: 'image' },
  });
  expect(modelConfig(resolveConfig({ preset: 'repo-s-2-16e2a-512' }), { ...latents, height: 64, width: 64 }).moe).toMatchObject({
    ...{ numExperts: 16, topK: 2, balanceAlpha: 0.01, balanceOver: 'batch' },
  });
});

test('the schema for editors accepts what the presets say and names every setting', () => {
  const schema = jsonSchema() as { properties: Record<string, unknown>; additionalProperties: boolean };
  expect(schema.additionalProperties).toBe(false);
  expect(Object.keys(schema.properties).sort()).toEqual(Object.keys(trainSettings.fields).sort());
  expect(JSON.stringify(schema)).toContain('bf16');
});

test('every setting has a description, however deep', () => {
  expect(undescribed(jsonSchema())).toEqual([]);
  expect(countSettings(jsonSchema())).toBeGreaterThan(100);
});

test('the learning rate warms up, then stays or falls', () => {
  const at = (step: number, schedule: string) =>
    learningRateAt(
      resolveConfig({
        preset: 'digits',
        overrides: [
          ...['steps=110', 'optimizer.warmupSteps=10', 'optimizer.learningRate=1', 'optimizer.finalLearningRate=0.5'],
          `optimizer.schedule=${schedule}`,
        ],
      }),
      step,
    );
  expect(at(0, 'constant')).toBeCloseTo(0.1);
  expect(at(109, 'constant')).toBe(1);
  expect(at(60, 'cosine')).toBeCloseTo(0.75);
  expect(at(35, 'linear')).toBeCloseTo(0.875);
  for (const schedule of ['cosine', 'linear']) expect(at(110, schedule)).toBeCloseTo(0.5);
});
