import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { exitCodes } from '@dit-moe/kit';
import type { DitMoeError } from '@dit-moe/tensor-ops';
import { openAutoencoder } from '@dit-moe/vae/node';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { writeShapes } from '../datasets/shapes.js';
import { exitCodeTable } from '../errors.js';
import { type TrainVaeFlags, trainVaeCommand } from './train-vae.js';

let root: string;
let flags: TrainVaeFlags;
const printed: string[] = [];
/** Hears what is said on stderr. */
let said = (_text: string): void => {};
beforeAll(async () => {
  vi.spyOn(console, 'log').mockImplementation((line: string) => void printed.push(line));
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    said(String(text));
    return true;
  });
  root = await fs.mkdtemp(path.join(os.tmpdir(), 'train-vae-'));
  await writeShapes(path.join(root, 'shapes'), { perClass: 3, size: 8, seed: 0 });
  await fs.writeFile(path.join(root, 'shapes/ring/broken.png'), 'not a picture');
  flags = {
    images: path.join(root, 'shapes'),
    out: path.join(root, 'vae'),
    size: 8,
    downscale: 4,
    channels: 8,
    latentChannels: 2,
    steps: 30,
    batch: 8,
    learningRate: 3e-3,
    loss: 'l1',
    klWeight: 1e-6,
    seed: 0,
    backend: 'tensorflow',
    json: true,
  };
});
afterAll(() => fs.rm(root, { recursive: true }));

test('an autoencoder is trained, written with its scale and drawn, and opens', async () => {
  expect(await trainVaeCommand(flags)).toBe(exitCodes.ok);
  const result = JSON.parse(printed.at(-1)!);
  expect(result).toMatchObject({ images: 18, skipped: 1, steps: 30 });
  // What a grey picture would be off by is about 60.
  expect(result.meanPixelError).toBeLessThan(60);
  const { autoencoder, config } = await openAutoencoder(flags.out);
  autoencoder.dispose();
  expect(config).toMatchObject({ blockOutChannels: [8, 16, 16], latentChannels: 2, sampleSize: 8, scalingFactor: result.scalingFactor });
  expect((await fs.readFile(path.join(flags.out, 'reconstructions.png'))).subarray(1, 4).toString()).toBe('PNG');
  // A trained autoencoder is not written over.
  await expect(trainVaeCommand(flags)).rejects.toMatchObject({ code: 'E_OUTPUT' });
});

test('a signal stops it, and what has been learnt is saved', async () => {
  const out = path.join(root, 'stopped');
  // Once, when training has begun: a second signal would end the process.
  said = (text) => {
    if (!/\bstep \d/.test(text)) return;
    said = () => {};
    process.emit('SIGUSR1');
  };
  expect(await trainVaeCommand({ ...flags, out, steps: 100_000 })).toBe(exitCodes.interrupted);
  expect(JSON.parse(printed.at(-1)!).steps).toBeLessThan(100_000);
  (await openAutoencoder(out)).autoencoder.dispose();
});

test('wrong input ends with the exit code that says what is wrong', async () => {
  const code = async (changes: Partial<TrainVaeFlags>) =>
    trainVaeCommand({ ...flags, out: path.join(root, 'wrong'), ...changes }).catch(
      (error: DitMoeError) => exitCodeTable[error.code] ?? error,
    );
  expect(await code({ size: 10 })).toBe(exitCodes.usage);
  expect(await code({ channels: 12 })).toBe(exitCodes.usage);
  expect(await code({ images: path.join(root, 'nowhere') })).toBe(exitCodes.data);
});
