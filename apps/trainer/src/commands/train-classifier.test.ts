import fs from 'node:fs';
import path from 'node:path';
import { exitCodes } from '@dit-moe/kit';
import { openClassifier } from '@dit-moe/metrics/node';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { makeRoot, writeImages } from '../testing/tiny-run.js';
import { trainClassifierCommand } from './train-classifier.js';

const { root, images } = makeRoot();
beforeAll(() => void vi.spyOn(process.stderr, 'write').mockReturnValue(true));
afterAll(() => {
  vi.restoreAllMocks();
  fs.rmSync(root, { recursive: true });
});

const flags = { epochs: 40, flip: false, seed: 0, backend: 'tensorflow', json: true } as const;

test('learns from a part of the images, says how it judges the others, and can be opened', async () => {
  const many = path.join(root, 'many');
  writeImages(many, 30);
  const out = path.join(root, 'judge.safetensors');
  const printed = vi.spyOn(console, 'log').mockImplementation(() => {});
  const code = await trainClassifierCommand({ ...flags, images: many, out });
  const result = JSON.parse(printed.mock.calls[0][0]);
  printed.mockRestore();
  expect(code).toBe(exitCodes.ok);
  expect(result).toMatchObject({ images: 54, classes: ['dark', 'light'], heldOut: { accuracy: 1, images: 6 } });
  const { weights, about } = await openClassifier(out);
  expect(about).toEqual({ size: 4, classNames: ['dark', 'light'], heldOut: result.heldOut });
  weights.dispose();
});

test('images of one class are nothing to learn from', async () => {
  await expect(
    trainClassifierCommand({ ...flags, images: path.join(images, 'dark'), out: path.join(root, 'x.safetensors') }),
  ).rejects.toThrow(/one class/);
});
