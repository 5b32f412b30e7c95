import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { startBackend } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs-core';
import { encode } from 'fast-png';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { learningRateAt, modelConfig, resolveConfig, type TrainConfig } from '../config.js';
import { loadImageFolder } from '../data/image-folder.js';
import { nearestLabel, recognisedShare } from '../demo/recognise.js';
import { makeBatch } from './batches.js';
import { listCheckpoints } from './checkpoints.js';
import { TrainingState } from './state.js';
import { train } from './train.js';

const root = fs.mkdtempSync(path.join(os.tmpdir(), 'trainer-'));
const images = path.join(root, 'images');
beforeAll(async () => {
  await startBackend('tensorflow');
  writeImages(images);
});
afterAll(() => fs.rmSync(root, { recursive: true }));

/** Six 4 x 4 images in two classes. */
function writeImages(folder: string): void {
  for (const [c, name] of ['dark', 'light'].entries()) {
    fs.mkdirSync(path.join(folder, name), { recursive: true });
    for (let i = 0; i < 3; i++) {
      const data = Uint8Array.from({ length: 16 }, (_, p) => c * 150 + ((p * 7 + i * 31) % 100));
      fs.writeFileSync(path.join(folder, name, `${i}.png`), encode({ data, width: 4, height: 4, channels: 1, depth: 8 }));
    }
  }
}

const config = (...overrides: string[]): TrainConfig =>
  resolveConfig({
    data: images,
    overrides: [
      'model={patchSize: 2, hiddenSize: 8, depth: 1, numHeads: 2, moe: {numExperts: 3, topK: 2, expertRatio: 1, sharedRatio: 1}}',
      'batchSize=4',
      'steps=4',
      'logEvery=1',
      'sampleEvery=100',
      'checkpointEvery=2',
      'sampling.steps=2',
      'emaDecay=0.5',
      ...overrides,
    ],
  });

let runs = 0;
const newRun = () => path.join(root, `run-${runs++}`);
const run = async (c: TrainConfig, out: string, resume = false, signal = new AbortController().signal) => {
  const messages: string[] = [];
  const progress = { update() {}, log: (message: string) => void messages.push(message), done() {} };
  const result = await train(c, { out, resume, progress, signal });
  result.state.dispose();
  return { ...result, messages };
};
const bytes = (out: string, step: number, file: string) =>
  fs.readFileSync(path.join(out, 'checkpoints', `step-${String(step).padStart(8, '0')}`, `${file}.safetensors`));
const lines = (out: string) =>
  fs
    .readFileSync(path.join(out, 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));

describe('a run', () => {
  test('leaves configuration, metrics, samples, report and checkpoints, and no tensor', async () => {
    const out = newRun();
    const before = tf.memory().numTensors;
    const { loss, step } = await run(config(), out);
    expect(tf.memory().numTensors).toBe(before);
    expect(step).toBe(4);
    expect(loss).toBeGreaterThan(0);
    expect(lines(out).map((line) => line.step)).toEqual([1, 2, 3, 4]);
    // 4 samples of 4 tokens with 2 experts each.
    expect(lines(out)[0].load[0].reduce((a: number, b: number) => a + b)).toBe(32);
    expect(fs.existsSync(path.join(out, 'samples', 'step-00000004.png'))).toBe(true);
    const report = fs.readFileSync(path.join(out, 'report.html'), 'utf8');
    expect(report).toContain('Load of the experts');
    expect(report).toContain('data:image/png;base64,');
    expect(report).not.toMatch(/(src|href)="http/);
    expect(fs.readdirSync(out)).not.toContain('run.lock');
  });

  test('resumed at any step equals the uninterrupted one bit for bit', async () => {
    const [whole, parts] = [newRun(), newRun()];
    await run(config('steps=5'), whole);
    await run(config('steps=3'), parts);
    const { messages } = await run(config('steps=5'), parts, true);
    expect(messages).toContain('resumed at step 3');
    for (const file of ['weights', 'ema', 'optimizer']) expect(bytes(parts, 5, file).equals(bytes(whole, 5, file)), file).toBe(true);
    const curve = (out: string) => lines(out).map(({ step, loss, gradNorm }) => ({ step, loss, gradNorm }));
    expect(curve(parts)).toEqual(curve(whole));
  });

  test('is the same for any number of micro-batches', async () => {
    const weights = async (accumulation: number) => {
      const out = newRun();
      await run(config(`accumulation=${accumulation}`, 'model.moe.balanceAlpha=0'), out);
      const buffer = bytes(out, 4, 'weights');
      const header = Number(buffer.readBigUInt64LE(0));
      return new Float32Array(new Uint8Array(buffer.subarray(8 + header)).buffer);
    };
    const [one, four] = [await weights(1), await weights(4)];
    // Adam divides by the gradient's own size, so rounding in tiny gradients shows: a share of the learning rate (1e-4) per step.
    for (const [i, w] of one.entries()) expect(Math.abs(w - four[i]!)).toBeLessThan(2e-5);
  });

  test('stops with a checkpoint when told to', async () => {
    const out = newRun();
    const result = await run(config(), out, false, AbortSignal.abort());
    expect(result).toMatchObject({ interrupted: true, step: 0 });
    const stop = new AbortController();
    setTimeout(() => stop.abort(), 300);
    const later = await run(config('steps=100000', 'checkpointEvery=100000'), out, true, stop.signal);
    expect(later.interrupted).toBe(true);
    expect(bytes(out, later.step, 'ema').length).toBeGreaterThan(0);
  });

  test('falls back to the checkpoint before a damaged one, and never starts over silently', async () => {
    const out = newRun();
    await run(config(), out);
    const [newest, older] = await listCheckpoints(out);
    const damage = (folder: string) => {
      const file = path.join(folder, 'weights.safetensors');
      const content = fs.readFileSync(file);
      content[content.length - 1]! ^= 1;
      fs.writeFileSync(file, content);
    };
    damage(newest!);
    fs.mkdirSync(path.join(out, 'checkpoints', '.tmp-step-00000009'));
    const { messages } = await run(config('steps=5'), out, true);
    expect(messages.join('\n')).toMatch(/step-00000004 cannot be used .*sha256/);
    expect(messages).toContain('resumed at step 2');
    expect(fs.readdirSync(path.join(out, 'checkpoints')).filter((name) => name.startsWith('.tmp'))).toEqual([]);
    for (const folder of await listCheckpoints(out)) damage(folder);
    expect(older).toBeDefined();
    await expect(run(config('steps=6'), out, true)).rejects.toThrow(/No checkpoint .* is whole/);
  });

  test('refuses a folder with another run, in use, or of another model', async () => {
    const out = newRun();
    await run(config(), out);
    await expect(run(config(), out)).rejects.toThrow(/holds a run already/);
    await expect(run(config('model.hiddenSize=16'), out, true)).rejects.toThrow(/differs from/);
    fs.writeFileSync(path.join(out, 'run.lock'), JSON.stringify({ pid: process.pid, host: os.hostname(), since: 'now' }));
    await expect(run(config(), out, true)).rejects.toMatchObject({ exitCode: 4, message: expect.stringMatching(/in use by process/) });
    const file = path.join(root, 'a-file');
    fs.writeFileSync(file, '');
    await expect(run(config(), path.join(file, 'run'))).rejects.toMatchObject({ exitCode: 4 });
  });
});

describe('a step', () => {
  test('with a NaN changes nothing', async () => {
    const data = await loadImageFolder(images);
    const c = config();
    const state = new TrainingState(modelConfig(c, data), c);
    const name = Object.keys(state.parameters).find((n) => n.endsWith('moe.gate'))!;
    const batch = () => makeBatch(data, 0, 4, { seed: 0, labelDropout: 0, flip: false });
    await state.step([batch()], 1e-3);
    const before = await state.parameters[name]!.data();
    const bad = batch();
    const nan = tf.mul(bad.x, Number.NaN);
    bad.x.dispose();
    expect((await state.step([{ ...bad, x: nan }], 1e-3)).applied).toBe(false);
    expect(await state.parameters[name]!.data()).toEqual(before);
    expect((await state.step([batch()], 1e-3)).applied).toBe(true);
    expect(await state.parameters[name]!.data()).not.toEqual(before);
    state.dispose();
  });

  test('sees every image once per epoch, and the same sample in any batch', async () => {
    const data = await loadImageFolder(images);
    const options = { seed: 3, labelDropout: 0.3, flip: true };
    const [whole, part] = [makeBatch(data, 6, 6, options), makeBatch(data, 8, 2, options)];
    for (const key of ['x', 'noise', 'timeNormal', 'y'] as const) {
      const rows = (await whole[key].array()) as unknown[];
      expect(await part[key].array()).toEqual(rows.slice(2, 4));
    }
    const plain = makeBatch(data, 6, 6, { seed: 3, labelDropout: 0, flip: false });
    const seen = ((await plain.x.array()) as number[][][][]).map((image) => JSON.stringify(image));
    expect(new Set(seen).size).toBe(6);
    expect([...(await makeBatch(data, 0, 4, { seed: 0, labelDropout: 1, flip: false }).y.data())]).toEqual([2, 2, 2, 2]);
  });
});

describe('images', () => {
  test('one that cannot be read is skipped, counted and named', async () => {
    const folder = path.join(root, 'one-bad');
    writeImages(folder);
    fs.writeFileSync(path.join(folder, 'dark', '1.png'), 'not a picture');
    const { count, skipped } = await loadImageFolder(folder);
    expect(count).toBe(5);
    expect(skipped.map(({ file }) => path.basename(file))).toEqual(['1.png']);
    const { messages } = await run(
      resolveConfig({
        ...{ data: folder },
        overrides: ['model={patchSize: 2, hiddenSize: 8, depth: 1, numHeads: 2}', 'steps=1', 'batchSize=2', 'sampling.steps=1'],
      }),
      newRun(),
    );
    expect(messages.join('\n')).toMatch(/skipped .*1\.png/);
  });

  test.each<[string, (folder: string) => void, RegExp]>([
    ['a missing folder', () => {}, /does not exist/],
    ['a file', (folder) => fs.writeFileSync(folder, ''), /is not a folder/],
    ['no class folders', (folder) => fs.mkdirSync(folder), /no class folders/],
    ['an empty class', (folder) => fs.mkdirSync(path.join(folder, 'a'), { recursive: true }), /is empty/],
  ])('%s is a data error', async (name, make, message) => {
    const folder = path.join(root, name.replaceAll(' ', '-'));
    make(folder);
    await expect(loadImageFolder(folder)).rejects.toMatchObject({ exitCode: 3, message: expect.stringMatching(message) });
  });

  test('the nearest neighbour recognises real images and not others', async () => {
    const data = await loadImageFolder(images);
    expect(recognisedShare(data, data.pixels, [...data.labels])).toBe(1);
    expect(
      recognisedShare(
        data,
        data.pixels,
        [...data.labels].map((label) => 1 - label),
      ),
    ).toBe(0);
    expect(nearestLabel(data, data.pixels.subarray(0, 16), 0)).toBe(0);
  });
});

describe('configuration', () => {
  test.each([
    [['steps=many'], /steps: .*number/],
    [['stepz=3'], /stepz/],
    [['optimizer.learningRate=-1'], /optimizer\.learningRate/],
    [['batchSize=5', 'accumulation=2'], /multiple of accumulation/],
    [['steps'], /key=value/],
  ])('%s is refused', (overrides, message) => {
    expect(() => resolveConfig({ preset: 'digits', overrides })).toThrow(message);
  });

  test('the learning rate warms up, then stays or falls along a cosine', () => {
    const at = (step: number, schedule: string) =>
      learningRateAt(
        resolveConfig({
          preset: 'digits',
          overrides: ['steps=110', 'optimizer.warmupSteps=10', 'optimizer.learningRate=1', `optimizer.schedule=${schedule}`],
        }),
        step,
      );
    expect(at(0, 'constant')).toBeCloseTo(0.1);
    expect(at(109, 'constant')).toBe(1);
    expect(at(60, 'cosine')).toBeCloseTo(0.5);
    expect(at(110, 'cosine')).toBeCloseTo(0);
  });
});

describe('the command line', () => {
  const cli = fileURLToPath(new URL('../cli.ts', import.meta.url));
  const start = (...args: string[]) => {
    const child = spawn(process.execPath, ['--conditions=@dit-moe/source', '--import', import.meta.resolve('tsx'), cli, ...args]);
    const output = { out: '', err: '' };
    child.stdout.on('data', (text) => (output.out += text));
    child.stderr.on('data', (text) => (output.err += text));
    return { child, output, ended: new Promise<number | null>((resolve) => child.on('close', resolve)) };
  };

  test.each([
    [['train', '--out', 'x', '--nonsense'], 2, /unknown option '--nonsense'/],
    [['train', '--out', 'x', '--preset', 'digits', '--backend', 'abacus'], 2, /abacus/],
    [['train', '--out', 'x', '--preset', 'digits', '--threads', 'many'], 2, /positive integer/],
    [['train', '--out', 'x'], 2, /configuration is not valid/],
    [['train', '--out', path.join(root, 'never'), '--preset', 'digits', '--data', path.join(root, 'nowhere')], 3, /does not exist/],
  ])('%s ends with code %i', async (args, code, message) => {
    const { output, ended } = start(...args);
    expect(await ended).toBe(code);
    expect(output.err).toMatch(message);
  });

  test('Ctrl-C saves and ends with code 75', async () => {
    const out = newRun();
    const { child, output, ended } = start(
      'train',
      '--preset',
      'digits',
      '--out',
      out,
      '--json',
      '--set',
      'steps=100000',
      'logEvery=1',
      'batchSize=8',
    );
    while (!output.err.includes('step 1/') && child.exitCode === null) await new Promise((resolve) => setTimeout(resolve, 50));
    child.kill('SIGINT');
    expect(await ended).toBe(75);
    const { step, interrupted } = JSON.parse(output.out);
    expect(interrupted).toBe(true);
    expect(bytes(out, step, 'ema').length).toBeGreaterThan(0);
  }, 30_000);
});
