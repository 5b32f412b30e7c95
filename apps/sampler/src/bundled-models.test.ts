import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { bundleProgram } from '@dit-moe/kit/testing';
import { decode } from 'fast-png';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bundledNames, locate, modelWithClasses } from './bundled-models.js';

test('a name is that of a model that comes along; everything else is where a model is', () => {
  for (const name of bundledNames) expect(fs.existsSync(locate(name))).toBe(true);
  for (const location of ['./digits', 'runs/digits', 'hf:digits/a/b']) expect(locate(location)).toBe(location);
});

test('classes tell the model, by their names', async () => {
  expect(await modelWithClasses('3, =7')).toBe('digits');
  expect(await modelWithClasses('sneaker,bag')).toBe('fashion');
  expect(await modelWithClasses('food')).toBe('emoji');
});

test.each([
  [undefined, /^Which model\? digits, fashion, emoji would do/],
  ['#3', /^No model that comes along has the class "#3"/],
  ['3,sneaker', /^No model that comes along has all the classes "3,sneaker"/],
])('classes %s tell none, and the models are listed', async (classes, message) => {
  const error = await modelWithClasses(classes).catch((error: Error) => error);
  expect((error as Error).message).toMatch(message);
  expect((error as Error).message).toMatch(/\n {2}digits: 0, 1, .*\n {2}fashion: t-shirt, .*\n {2}emoji: /);
});

describe('the command line', () => {
  const root = fs.mkdtempSync(path.join(os.tmpdir(), 'bundled-models-'));
  let start: Awaited<ReturnType<typeof bundleProgram>>;
  beforeAll(async () => {
    // Where the program looks for them: beside its own folder.
    fs.mkdirSync(path.join(root, 'program'));
    fs.symlinkSync(fileURLToPath(new URL('../../../packages/models/models', import.meta.url)), path.join(root, 'models'));
    start = await bundleProgram(new URL('./cli.ts', import.meta.url), path.join(root, 'program'));
  });
  afterAll(() => fs.rmSync(root, { recursive: true }));

  test('makes pictures of a class without being told a model, and remembers which one it was', async () => {
    const out = path.join(root, 'three.png');
    const { code, err } = await start(['sample', '--classes', '3', '--count', '1', '--steps', '2', '--out', out]).ended;
    expect({ code, err }).toMatchObject({ code: 0 });
    expect(JSON.parse(decode(fs.readFileSync(out)).text['Comment'])).toMatchObject({ model: 'digits', images: [{ label: 3 }] });
  });
});
