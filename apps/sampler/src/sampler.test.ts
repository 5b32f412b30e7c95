import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { imagenetNames } from '@dit-moe/data';
import { bundleProgram } from '@dit-moe/kit/testing';
import { int8Refusal } from '@dit-moe/tensor-ops';
import { startBackend } from '@dit-moe/tensor-ops/node';
import { decode } from 'fast-png';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { tinyCard, writeTinyRun } from '../../../packages/pipeline/src/testing/tiny-model.js';
import { parseClasses, parseClassesOrNone } from './classes.js';
import { classFolders, interpolation } from './commands/sample.js';
import { terminalPreview } from './pictures/terminal-preview.js';

const root = fs.mkdtempSync(path.join(os.tmpdir(), 'sampler-'));
const run = path.join(root, 'run');
const newest = path.join(run, 'checkpoints', 'step-7');

let start: Awaited<ReturnType<typeof bundleProgram>>;

beforeAll(async () => {
  await startBackend('tensorflow');
  await writeTinyRun(run);
  start = await bundleProgram(new URL('./cli.ts', import.meta.url));
});
afterAll(() => fs.rmSync(root, { recursive: true }));

test('a way between classes and seeds needs two ends', () => {
  expect(interpolation([0, 2], [1, 9], 4, 3)).toHaveLength(5);
  expect(() => interpolation([0], [1], 4, 0)).toThrow(/at least two/);
  expect(() => interpolation([0, 1, 2], [1, 2], 4, 0)).toThrow(/3 classes and 2 seeds/);
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
  // Folders named 1, 2, 3 and 10: 1 is the name of the first and the number of the second.
  const numbers = ['1', '2', '3', '10'];
  for (const text of ['1', '2', '3', '10,1'])
    expect(() => parseClasses(text, numbers)).toThrow(/name of class number.*number of the class named.*=.*#/);
  expect(parseClasses('0,10,=1,#1,=10', numbers)).toEqual([0, 3, 0, 1, 3]);
  expect(parseClasses('1,0', ['0', '1'])).toEqual([1, 0]);
  // Two of ImageNet's are called crane.
  expect(() => parseClasses('crane', ['crane', 'bird', 'crane'])).toThrow(/name of several classes, such as 0 and 2.*#0 or #2/);
  expect(parseClasses('#2', ['crane', 'bird', 'crane'])).toEqual([2]);
  expect(parseClasses('golden retriever, n01440764, #517', imagenetNames)).toEqual([207, 0, 517]);
  expect(() => parseClasses('n01440764', tinyCard.classNames)).toThrow(/no class "n01440764"/);
  expect(parseClassesOrNone('none', ['cat'])).toEqual([null]);
  expect(parseClassesOrNone('none', ['cat', 'none'])).toEqual([1]);
  expect(parseClasses('tench, Tinca tinca', ['tench, Tinca tinca', 'goldfish'])).toEqual([0]);
});

test('class names never are paths, and classes of one name have folders of their own', () => {
  const folders = classFolders(['../../outside', 'bus/truck', 'plain', 'crane', 'crane']);
  for (const folder of folders) expect(path.dirname(path.join('each', folder))).toBe('each');
  expect(new Set(folders).size).toBe(5);
  expect(folders.slice(2)).toEqual(['plain', '3 crane', '4 crane']);
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

  test('a class that is asked for twice loses none of its single files', async () => {
    const each = path.join(root, 'out', 'twice');
    const flags = ['--classes', 'bee,cat,bee', '--count', '2', '--steps', '1', '--out', path.join(root, 'twice.png'), '--each', each];
    expect((await start(['sample', run, ...flags]).ended).code).toBe(0);
    const indices = (name: string) =>
      fs.readdirSync(path.join(each, name)).map((file) => {
        const { text } = decode(fs.readFileSync(path.join(each, name, file)));
        return [file, JSON.parse(text['Comment']).index];
      });
    expect(indices('bee').sort()).toEqual([0, 1, 4, 5].map((index, i) => [`00${i}.png`, index]));
    expect(indices('cat').sort()).toEqual([2, 3].map((index, i) => [`00${i}.png`, index]));
  });

  test('guides by a rule and away from a weaker model, and says so in the picture and in its help', async () => {
    const out = path.join(root, 'guided.png');
    const rule = 'apg:momentum=-0.5,largest=2';
    const flags = ['--count', '1', '--steps', '2', '--out', out, '--guidance-rule', rule, '--guide-with', newest];
    expect((await start(['sample', run, ...flags]).ended).code).toBe(0);
    const { text } = decode(fs.readFileSync(out));
    expect(JSON.parse(text['Comment'])).toMatchObject({ guidance: 2, guidanceRule: rule, guideWith: newest });
    for (const command of ['sample', 'generate', 'routing']) {
      const { out: help } = await start([command, '--help']).ended;
      expect(help).toMatch(/rescale +brings contrast back .*\(share=0\.7\)/);
      expect(help).toMatch(/Every rule costs two evaluations/);
    }
  });

  test('a bundle in int8: exported, inspected, sampled; what computed is recorded, also where it was not int8', async () => {
    const trainer = await bundleProgram(new URL('../../trainer/src/cli.ts', import.meta.url));
    const done = async (running: ReturnType<typeof start>) => {
      const outcome = await running.ended;
      expect(outcome, outcome.err).toMatchObject({ code: 0 });
      return outcome;
    };
    const [bundle, picture, set] = ['bundle-int8', 'int8.png', 'set-int8'].map((name) => path.join(root, name));
    await done(trainer(['export', run, '--precision', 'int8', '--out', bundle]));
    const page = fs.readFileSync(path.join(bundle, 'README.md'), 'utf8');
    for (const part of ['| weights | average, matrices in int8 |', 'sample model.safetensors --precision int8'])
      expect(page).toContain(part);
    const { out } = await done(trainer(['inspect', bundle, '--stats', '--json']));
    const { dtypes, card, tensors, problem } = JSON.parse(out);
    expect({ dtypes, problem, step: card.step }).toEqual({ dtypes: ['F32', 'I8'], problem: undefined, step: 7 });
    const matrix = tensors.find(({ name }: { name: string }) => name === 'blocks.0.attention.qkv.weight');
    expect(matrix).toMatchObject({ dtype: 'I8', largest: 127, notFinite: 0 });

    const asked = ['--precision', 'int8', '--steps', '2'];
    await done(start(['sample', bundle, ...asked, '--count', '1', '--out', picture]));
    const precision = int8Refusal() === undefined ? 'int8' : 'f32';
    expect(JSON.parse(decode(fs.readFileSync(picture)).text['Comment'])).toMatchObject({ step: 7, precision });
    const { err } = await done(start(['generate', bundle, ...asked, '--images', '2', '--backend', 'cpu', '--out', set]));
    expect(err).toMatch(/precision int8: only the TensorFlow runtime.*float32/);
    expect(JSON.parse(fs.readFileSync(path.join(set, 'manifest.json'), 'utf8')).precision).toBe('f32');
  });

  test('writes other formats, names beside the rows, and films; says what it is doing', async () => {
    const at = (name: string): string => path.join(root, 'formats', name);
    const made = async (...args: string[]) => {
      const { code, err } = await start(['sample', run, '--count', '2', '--steps', '3', ...args]).ended;
      expect({ code, err }).toMatchObject({
        code: 0,
        err: expect.stringMatching(/^opening the model \.\.\.\n.*step 3\/3 {2}\d+ images/s),
      });
    };
    await made('--out', at('plain.webp'), '--film', at('denoising.gif'));
    await made('--out', at('named.jpg'), '--captions', '--film', at('denoising.png'));
    await made('--out', at('way.png'), '--classes', 'ant,cat', '--interpolate', '4', '--film', at('way.webp'));
    const facts = async (name: string) => sharp(fs.readFileSync(at(name)), { animated: true }).metadata();
    const [plain, named] = [await facts('plain.webp'), await facts('named.jpg')];
    expect([plain.format, named.format]).toEqual(['webp', 'jpeg']);
    expect(named.height).toBe(plain.height);
    expect(named.width).toBeGreaterThan(plain.width + 20);
    expect(await facts('denoising.gif')).toMatchObject({ pages: 3, width: plain.width, pageHeight: plain.height });
    expect((await facts('way.webp')).pages).toBe(5);
    const [cell, filmStrip] = [32, await facts('denoising.png')];
    expect([filmStrip.width, filmStrip.height]).toEqual([3 * (cell + 8) - 8, 6 * (cell + 8) - 8]);
  });

  test('a list of labels is read before the weights are', async () => {
    const labels = path.join(root, 'labels.txt');
    fs.writeFileSync(labels, 'ant dog');
    const { code, err } = await start(['generate', run, '--images', '2', '--labels', labels, '--out', path.join(root, 'listed')]).ended;
    expect(err).toMatch(/--labels, entry 2: there is no class "dog"/);
    expect(code).toBe(2);
    expect(err).not.toMatch(/reading the weights|loading the weights/);
  });

  test.each([
    [['generate', '--out', path.join(root, 'set')], 2, /missing required argument/],
    [['sample', run, '--out', 'x.bmp'], 2, /--out x\.bmp: expected a name that ends in \.png, \.jpg/],
    [['sample', run, '--film', 'film'], 2, /--film film: expected a name that ends in/],
    [['sample', run, '--out', path.join(root, 'no-name.png', 'x'.repeat(300) + '.png')], 4, /name is too long/],
    [['sample', run, '--solver', 'eulr'], 2, /Did you mean euler/],
    [['sample', run, '--steps', '0'], 2, /positive integer/],
    [['sample', run, '--interval', '0.8,0.1'], 2, /0\.1,0\.8/],
    [['sample', run, '--guidance-rule', 'resale'], 2, /Did you mean rescale/],
    [['sample', run, '--guide-with', path.join(root, 'nowhere')], 6, /no such file or folder/],
    [['sample', run, '--classes', 'dog'], 2, /no class "dog"/],
    [['sample', run, '--size', '7'], 2, /multiples of 2/],
    [['sample', run, '--strength', '0.5'], 2, /--init/],
    [['sample', run, '--init', path.join(newest, 'ema.safetensors')], 2, /--init: cannot use/],
    [['sample', path.join(root, 'nowhere')], 6, /no such file or folder/],
    [['sample', 'digitz'], 6, /no such file or folder, and no model of this name comes along: .*Did you mean digits/],
    [['sample', run, '--count', '1', '--steps', '1', '--out', path.join(newest, 'ema.safetensors', 'x.png')], 4, /Cannot write/],
  ])('%s ends with code %i', async (args, expected, message) => {
    const { code, err } = await start(args).ended;
    expect(err).toMatch(message);
    expect(code).toBe(expected);
  });
});
