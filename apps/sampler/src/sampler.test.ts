import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { writeSafetensors } from '@dit-moe/tensor-ops/io/node';
import { startBackend } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs-core';
import { decode } from 'fast-png';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { interpolation, parseClasses } from './commands/sample.js';
import { type ImageRequest, ModelError, openModel, openWeights, type SampleSettings, sampleBatch, sampleImages } from './index.js';
import { terminalPreview } from './terminal-preview.js';
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
  fs.writeFileSync(path.join(newest, 'manifest.json'), '{}');
  start = await bundleCli(root);
});
afterAll(() => fs.rmSync(root, { recursive: true }));

describe('models', () => {
  test('a run folder means its newest checkpoint, and its average unless asked otherwise', async () => {
    const pathOf = async (location: string, weights?: string) => {
      const { path: found, close } = await openWeights(location, { weights });
      await close();
      return found;
    };
    expect(await pathOf(run)).toBe(path.join(newest, 'ema.safetensors'));
    expect(await pathOf(newest, 'weights')).toBe(path.join(newest, 'weights.safetensors'));
    await expect(openWeights(root)).rejects.toThrow(ModelError);
    await expect(openWeights(path.join(root, 'nowhere'))).rejects.toThrow(/no such file or folder/);
  });

  test('a file of others has to be told how it was trained', async () => {
    const foreign = path.join(import.meta.dirname, '../../../golden/dit-moe/model/A3/weights.safetensors');
    await expect(openWeights(foreign)).rejects.toThrow(/--objective/);
    const { card, close } = await openWeights(foreign, { objective: 'flow' });
    await close();
    expect(card).toMatchObject({ objective: 'flow', timeScale: 1, classNames: ['0', '1', '2', '3', '4', '5', '6'] });
    await expect(openWeights(run, { objective: 'ddpm' })).rejects.toThrow(/objective is "flow", needed "ddpm"/);
  });

  test('a missing weight and a foreign file are refused by name and leave no tensor', async () => {
    const before = tf.memory().numTensors;
    const incomplete = path.join(root, 'incomplete.safetensors');
    await writeTinyModel(incomplete, tinyCard, '', 'blocks.0.moe.gate');
    await expect(openModel(incomplete)).rejects.toThrow(/blocks\.0\.moe\.gate/);
    const foreign = path.join(root, 'foreign.safetensors');
    await writeSafetensors(foreign, []);
    await expect(openModel(foreign)).rejects.toThrow(/Cannot open the model/);
    fs.writeFileSync(foreign, 'not a model');
    await expect(openModel(foreign)).rejects.toThrow(ModelError);
    expect(tf.memory().numTensors).toBe(before);
  });
});

describe('images', () => {
  test('depend on seed and number, not on the batch, and leave no tensor', async () => {
    const before = tf.memory().numTensors;
    const model = await openModel(run);
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
        const model = await openModel(run, { weights: 'weights', precision });
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
    const difference = full.reduce((sum, v, i) => sum + Math.abs(v - low[i]), 0) / full.length;
    expect(difference).toBeLessThan(4);
  });
});

describe('starting elsewhere than at one seed and class', () => {
  test('a way between classes and seeds begins and ends at the images of its ends', async () => {
    const before = tf.memory().numTensors;
    const model = await openModel(run);
    const pixels = async (images: ImageRequest[], more: Partial<SampleSettings> = {}) =>
      (await sampleImages(model, images, { ...settings, ...more }, { batch: 8 })).data;
    const way = await pixels(interpolation([0, 2], [1, 9], 4, 3));
    expect(way.length).toBe(5 * 16);
    const first = await pixels([{ label: 0, index: 3 }], { seed: 1 });
    const last = await pixels([{ label: 2, index: 3 }], { seed: 9 });
    // Mixing with shares 1 and 0 rounds: a value may fall on the other side of a half.
    const close = (a: Uint8Array, b: Uint8Array) => expect(Math.max(...a.map((v, i) => Math.abs(v - b[i])))).toBeLessThanOrEqual(1);
    close(way.subarray(0, 16), first);
    close(way.subarray(64), last);
    const distance = (a: Uint8Array, b: Uint8Array) => a.reduce((sum, v, i) => sum + Math.abs(v - b[i]), 0);
    expect(distance(way.subarray(32, 48), first)).toBeGreaterThan(distance(way.subarray(16, 32), first));
    expect(() => interpolation([0], [1], 4, 0)).toThrow(/at least two/);
    expect(() => interpolation([0, 1, 2], [1, 2], 4, 0)).toThrow(/3 classes and 2 seeds/);
    model.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });

  test.each(['euler', 'heun', 'dpm++2m', 'unipc', 'ddpm', 'dpm++2m-sde'] as const)('%s keeps what the mask keeps', async (solver) => {
    const model = await openModel(run);
    const clean = tf.tensor(
      Float32Array.from({ length: 16 }, (_, i) => Math.sin(i)),
      [1, 1, 4, 4],
    );
    const mask = tf.tensor(
      Float32Array.from({ length: 16 }, (_, i) => (i % 4 < 2 ? 1 : 0)),
      [1, 1, 4, 4],
    );
    const images = [0, 1].map((label, index) => ({ label, index }));
    const x = await sampleBatch(model, images, { ...settings, solver }, { reference: { clean, strength: 1, mask } });
    const [found, kept] = [await x.data(), await clean.data()];
    for (let i = 0; i < 32; i++) {
      const difference = Math.abs(found[i] - kept[i % 16]);
      if (i % 4 >= 2) expect(difference).toBeLessThan(1e-5);
    }
    expect(Math.abs(found[0] - kept[0])).toBeGreaterThan(0.02);
    tf.dispose([clean, mask, x]);
    model.dispose();
  });

  test('a picture is kept the more, the less it is noised', async () => {
    const model = await openModel(run);
    const clean = tf.tensor(
      Float32Array.from({ length: 16 }, (_, i) => Math.sin(i)),
      [1, 1, 4, 4],
    );
    const distance = async (strength: number) => {
      const x = await sampleBatch(model, [{ label: 0, index: 0 }], { ...settings, steps: 20 }, { reference: { clean, strength } });
      const [error] = await tf.tidy(() => tf.mean(tf.squaredDifference(x, clean))).data();
      x.dispose();
      return error;
    };
    const [little, much] = [await distance(0.05), await distance(0.9)];
    expect(little).toBeLessThan(0.02);
    expect(much).toBeGreaterThan(5 * little);
    const adaptive = sampleBatch(
      model,
      [{ label: 0, index: 0 }],
      { ...settings, solver: 'dopri5', steps: undefined },
      { reference: { clean, strength: 0.5 } },
    );
    await expect(adaptive).rejects.toThrow(/number of steps/);
    clean.dispose();
    model.dispose();
  });
});

test('the preview has two pixels in a character', () => {
  const picture = { data: Uint8Array.of(0, 100, 200, 255), count: 1, width: 2, height: 2, channels: 1 };
  const block = (above: number, below: number) => `\x1b[38;2;${above};${above};${above}m\x1b[48;2;${below};${below};${below}m\u2580`;
  expect(terminalPreview(picture, 80)).toBe(`${block(0, 200)}${block(100, 255)}\x1b[0m\n`);
  expect(terminalPreview(picture, 1)).toBe('\x1b[38;2;139;139;139m\u2580\x1b[0m\n');
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
    const flags = ['--classes', 'bee,cat', '--count', '2', '--steps', '2', '--out', sheet, '--each', each, '--json', '--preview'];
    const { code, out, err } = await start(['sample', run, ...flags]).ended;
    expect(err).not.toMatch(/error/i);
    expect(code).toBe(0);
    expect(JSON.parse(out)).toMatchObject({ images: 4, step: 7, steps: 2, backend: expect.stringMatching(/^tensorflow 2/) });
    expect(err).toContain('\u2580');
    expect(decode(fs.readFileSync(sheet)).width).toBeGreaterThanOrEqual(8);
    expect(fs.readdirSync(each).sort()).toEqual(['bee', 'cat']);
    const single = decode(fs.readFileSync(path.join(each, 'cat', '001.png')));
    expect([single.width, single.height]).toEqual([4, 4]);
    expect(JSON.parse(single.text['Comment'])).toMatchObject({ label: 2, index: 3, seed: 0 });
  });

  test.each([
    [['sample'], 2, /missing required argument/],
    [['sample', run, '--steps', '0'], 2, /positive integer/],
    [['sample', run, '--interval', '0.8,0.1'], 2, /0\.1,0\.8/],
    [['sample', run, '--classes', 'dog'], 2, /no class "dog"/],
    [['sample', run, '--size', '7'], 2, /multiples of 2/],
    [['sample', run, '--strength', '0.5'], 2, /--init/],
    [['sample', run, '--init', path.join(newest, 'ema.safetensors')], 2, /--init: cannot use/],
    [['sample', path.join(root, 'nowhere')], 6, /no such file or folder/],
    [['sample', run, '--count', '1', '--steps', '1', '--out', path.join(newest, 'ema.safetensors', 'x.png')], 4, /Cannot write/],
  ])('%s ends with code %i', async (args, expected, message) => {
    const { code, err } = await start(args).ended;
    expect(err).toMatch(message);
    expect(code).toBe(expected);
  });
});
