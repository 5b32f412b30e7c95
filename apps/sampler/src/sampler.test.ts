import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { cardToMetadata, type ModelCard, weightSpecs } from '@dit-moe/dit';
import { randomNormal } from '@dit-moe/tensor-ops';
import { writeSafetensors } from '@dit-moe/tensor-ops/io/node';
import { startBackend } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs-core';
import { decode } from 'fast-png';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseClasses } from './commands/sample.js';
import { findModel, ModelError, openModel, type SampleSettings, sampleImages } from './index.js';

const card: ModelCard = {
  config: {
    inputSize: [4, 4],
    patchSize: 2,
    inChannels: 1,
    hiddenSize: 8,
    depth: 1,
    numHeads: 2,
    mlpRatio: 4,
    numClasses: 3,
    learnSigma: false,
    moe: { numExperts: 3, topK: 2, expertRatio: 1, sharedRatio: 1, balanceAlpha: 0.01 },
  },
  objective: 'flow',
  timeScale: 1000,
  classNames: ['ant', 'bee', 'cat'],
  step: 7,
};
// Five steps: with three, DPM-Solver++(2M) is Euler's method.
const settings: SampleSettings = { solver: 'euler', steps: 5, guidance: 2, seed: 1 };

const root = fs.mkdtempSync(path.join(os.tmpdir(), 'sampler-'));
const run = path.join(root, 'run');
const newest = path.join(run, 'checkpoints', 'step-7');

/** Weights that matter everywhere: initial ones would leave the blocks without influence. */
async function writeModel(file: string, prefix = '', without?: string): Promise<void> {
  const tensors = Object.entries(weightSpecs(card.config))
    .filter(([name]) => name !== without)
    .map(([name, { shape }]) => {
      const values = randomNormal({ seed: 3, purpose: name, index: 0 }, tf.util.sizeFromShape([...shape])).map((v) => v * 0.3);
      return { name: prefix + name, dtype: 'F32' as const, shape, bytes: () => new Uint8Array(values.buffer) };
    });
  await writeSafetensors(file, tensors, cardToMetadata(card));
}

beforeAll(async () => {
  await startBackend('tensorflow');
  for (const folder of [newest, path.join(run, 'checkpoints', 'step-5')]) fs.mkdirSync(folder, { recursive: true });
  await writeModel(path.join(newest, 'ema.safetensors'), 'ema.0.9999.');
  await writeModel(path.join(newest, 'weights.safetensors'));
});
afterAll(() => fs.rmSync(root, { recursive: true }));

describe('models', () => {
  test('a run folder means its newest checkpoint', async () => {
    expect(await findModel(run, 'ema')).toBe(path.join(newest, 'ema.safetensors'));
    expect(await findModel(newest, 'weights')).toBe(path.join(newest, 'weights.safetensors'));
    await expect(findModel(root, 'ema')).rejects.toThrow(ModelError);
    await expect(findModel(path.join(root, 'nowhere'), 'ema')).rejects.toThrow(/There is no/);
  });

  test('a missing weight and a foreign file are refused by name and leave no tensor', async () => {
    const before = tf.memory().numTensors;
    const incomplete = path.join(root, 'incomplete.safetensors');
    await writeModel(incomplete, '', 'blocks.0.moe.gate');
    await expect(openModel(incomplete, 'f32')).rejects.toThrow(/blocks\.0\.moe\.gate/);
    const foreign = path.join(root, 'foreign.safetensors');
    await writeSafetensors(foreign, []);
    await expect(openModel(foreign, 'f32')).rejects.toThrow(/metadata format/);
    fs.writeFileSync(foreign, 'not a model');
    await expect(openModel(foreign, 'f32')).rejects.toThrow(ModelError);
    expect(tf.memory().numTensors).toBe(before);
  });
});

describe('images', () => {
  test('depend on seed and number, not on the batch, and leave no tensor', async () => {
    const before = tf.memory().numTensors;
    const model = await openModel(await findModel(run, 'ema'), 'f32');
    const images = [0, 1, 2, 0, 1].map((label, index) => ({ label, index }));
    const sample = async (batch: number, more: Partial<SampleSettings> = {}) =>
      (await sampleImages(model, images, { ...settings, ...more }, { batch })).data;
    const together = await sample(5);
    expect(together.length).toBe(5 * 16);
    expect(new Set(together).size).toBeGreaterThan(10);
    const inParts = await sample(2);
    expect(inParts).toEqual(together);
    expect(await sample(1)).toEqual(together);
    expect(await sample(5)).toEqual(together);
    for (const change of [
      { seed: 2 },
      { guidance: 5 },
      { solver: 'heun' as const },
      { solver: 'dpm++2m' as const },
      { interval: [0.9, 1] as const },
    ])
      expect(await sample(5, change)).not.toEqual(together);
    model.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });

  test('in bf16 are close to those in float32', async () => {
    const [full, low] = await Promise.all(
      (['f32', 'bf16'] as const).map(async (precision) => {
        const model = await openModel(await findModel(run, 'weights'), precision);
        const { data } = await sampleImages(
          model,
          [0, 1, 2].map((label, index) => ({ label, index })),
          settings,
          { batch: 3 },
        );
        model.dispose();
        return data;
      }),
    );
    const difference = full!.reduce((sum, v, i) => sum + Math.abs(v - low![i]!), 0) / full!.length;
    expect(difference).toBeLessThan(4);
  });
});

test('classes are names or numbers', () => {
  expect(parseClasses(undefined, card.classNames)).toEqual([0, 1, 2]);
  expect(parseClasses('cat, 0', card.classNames)).toEqual([2, 0]);
  for (const text of ['dog', '3', '-1', '', '1,']) expect(() => parseClasses(text, card.classNames)).toThrow(/--classes/);
});

describe('the command line', () => {
  const cli = fileURLToPath(new URL('./cli.ts', import.meta.url));
  const start = async (...args: string[]) => {
    const child = spawn(process.execPath, ['--conditions=@dit-moe/source', '--import', import.meta.resolve('tsx'), cli, ...args]);
    const output = { out: '', err: '' };
    child.stdout.on('data', (text) => (output.out += text));
    child.stderr.on('data', (text) => (output.err += text));
    const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
    return { code, ...output };
  };

  test('writes the sheet and single files, each with its settings', async () => {
    const sheet = path.join(root, 'out', 'sheet.png');
    const each = path.join(root, 'out', 'each');
    const flags = ['--classes', 'bee,cat', '--count', '2', '--steps', '2', '--out', sheet, '--each', each, '--json'];
    const { code, out, err } = await start('sample', run, ...flags);
    expect(err).not.toMatch(/error/i);
    expect(code).toBe(0);
    expect(JSON.parse(out)).toMatchObject({ images: 4, step: 7, steps: 2, backend: 'tensorflow' });
    expect(decode(fs.readFileSync(sheet)).width).toBeGreaterThanOrEqual(8);
    expect(fs.readdirSync(each).sort()).toEqual(['bee', 'cat']);
    const single = decode(fs.readFileSync(path.join(each, 'cat', '001.png')));
    expect([single.width, single.height]).toEqual([4, 4]);
    expect(JSON.parse(single.text!['Comment']!)).toMatchObject({ label: 2, index: 3, seed: 0 });
  });

  test.each([
    [['sample'], 2, /missing required argument/],
    [['sample', run, '--steps', '0'], 2, /positive integer/],
    [['sample', run, '--interval', '0.8,0.1'], 2, /0\.1,0\.8/],
    [['sample', run, '--classes', 'dog'], 2, /no class "dog"/],
    [['sample', path.join(root, 'nowhere')], 6, /There is no/],
    [['sample', run, '--count', '1', '--steps', '1', '--out', path.join(newest, 'ema.safetensors', 'x.png')], 4, /Cannot write/],
  ])('%s ends with code %i', async (args, expected, message) => {
    const { code, err } = await start(...args);
    expect(err).toMatch(message);
    expect(code).toBe(expected);
  });
});
