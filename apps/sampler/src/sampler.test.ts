import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { writeSafetensors } from '@dit-moe/tensor-ops/io/node';
import { startBackend } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs-core';
import { decode } from 'fast-png';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseClasses } from './commands/sample.js';
import { findModel, ModelError, openModel, type SampleSettings, sampleImages } from './index.js';
import { bundleCli, type Running } from './testing/run-cli.js';
import { tinyCard, writeTinyModel } from './testing/tiny-model.js';

// Five steps: with three, DPM-Solver++(2M) is Euler's method.
const settings: SampleSettings = { solver: 'euler', steps: 5, guidance: 2, seed: 1 };

const root = fs.mkdtempSync(path.join(os.tmpdir(), 'sampler-'));
const run = path.join(root, 'run');
const newest = path.join(run, 'checkpoints', 'step-7');

let start: (args: readonly string[]) => Running;

beforeAll(async () => {
  await startBackend('tensorflow');
  fs.mkdirSync(path.join(run, 'checkpoints', 'step-5'), { recursive: true });
  await writeTinyModel(path.join(newest, 'ema.safetensors'), tinyCard, 'ema.0.9999.');
  await writeTinyModel(path.join(newest, 'weights.safetensors'));
  start = await bundleCli(root);
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
    await writeTinyModel(incomplete, tinyCard, '', 'blocks.0.moe.gate');
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
  expect(parseClasses(undefined, tinyCard.classNames)).toEqual([0, 1, 2]);
  expect(parseClasses('cat, 0', tinyCard.classNames)).toEqual([2, 0]);
  for (const text of ['dog', '3', '-1', '', '1,']) expect(() => parseClasses(text, tinyCard.classNames)).toThrow(/--classes/);
});

describe('the command line', () => {
  test('writes the sheet and single files, each with its settings', async () => {
    const sheet = path.join(root, 'out', 'sheet.png');
    const each = path.join(root, 'out', 'each');
    const flags = ['--classes', 'bee,cat', '--count', '2', '--steps', '2', '--out', sheet, '--each', each, '--json'];
    const { code, out, err } = await start(['sample', run, ...flags]).ended;
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
    const { code, err } = await start(args).ended;
    expect(err).toMatch(message);
    expect(code).toBe(expected);
  });
});
