/**
 * One model, seed and setting gives the same bytes wherever it is sampled: in the preview of its training, on the command line and by the
 * server; for flow and Gaussian models, of pictures (3 channels) and of latents (4).
 */
import fs from 'node:fs';
import type http from 'node:http';
import type net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { weightSpecs } from '@dit-moe/dit';
import { bundleProgram, type Running } from '@dit-moe/kit/testing';
import { startBackend } from '@dit-moe/tensor-ops/node';
import { autoencoderConfig, initialAutoencoderWeights } from '@dit-moe/vae';
import { saveAutoencoder } from '@dit-moe/vae/node';
import * as tf from '@tensorflow/tfjs-core';
import { decode, encode } from 'fast-png';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { tinyCard, writeTinyModel } from '../../../packages/pipeline/src/testing/tiny-model.js';
import { ModelStore } from './serve/model-store.js';
import { fromBase64, type SampleEvent } from './serve/protocol.js';
import { createServer } from './serve/server.js';

const root = fs.mkdtempSync(path.join(os.tmpdir(), 'same-'));
const [images, latents, vae] = ['images', 'latents', 'vae'].map((name) => path.join(root, name));
const trainer = new URL('../../trainer/src/cli.ts', import.meta.url);
const settings = { seed: 3, steps: 3, guidance: 4 };
let train: (args: readonly string[]) => Running;
let sample: (args: readonly string[]) => Running;
const servers: http.Server[] = [];

async function succeed({ ended }: Running): Promise<void> {
  const { code, err } = await ended;
  expect(code, err).toBe(0);
}

beforeAll(async () => {
  await startBackend('tensorflow');
  for (const [label, name] of tinyCard.classNames.entries()) {
    fs.mkdirSync(path.join(images, name), { recursive: true });
    for (let i = 0; i < 2; i++) {
      const data = Uint8Array.from({ length: 8 * 8 * 3 }, (_, p) => (p * 7 + 31 * i + 80 * label) % 256);
      fs.writeFileSync(path.join(images, name, `${i}.png`), encode({ data, width: 8, height: 8, channels: 3, depth: 8 }));
    }
  }
  const config = autoencoderConfig({ block_out_channels: [8, 8], norm_num_groups: 4 });
  const weights = initialAutoencoderWeights(config, 1);
  await saveAutoencoder(vae, weights, config);
  tf.dispose(weights);
  [train, sample] = await Promise.all([bundleProgram(trainer), bundleProgram(new URL('./cli.ts', import.meta.url))]);
  await succeed(train(['encode', images, '--vae', vae, '--size', '8', '--out', latents]));
});
afterAll(() => {
  for (const server of servers) {
    server.close();
    server.closeAllConnections();
  }
  fs.rmSync(root, { recursive: true });
});

test.each([
  ['flow', 3],
  ['flow', 4],
  ['ddpm', 3],
  ['ddpm', 4],
] as const)('%s with %i channels: preview, command line and server', async (objective, inChannels) => {
  const name = `${objective}-${inChannels}`;
  const isLatent = inChannels === 4;
  const inputSize = isLatent ? ([4, 4] as const) : ([8, 8] as const);
  // Random weights that matter everywhere: those of a start would leave labels and guidance without influence.
  const start = path.join(root, `${name}.safetensors`);
  const config = { ...tinyCard.config, inChannels, inputSize, learnSigma: objective === 'ddpm' };
  expect(Object.keys(weightSpecs(config))).toContain('labelEmbedding.table');
  await writeTinyModel(start, { ...tinyCard, objective, timeScale: 1, config });
  const file = path.join(root, `${name}.json`);
  const { patchSize, hiddenSize, depth, numHeads, moe } = config;
  fs.writeFileSync(
    file,
    JSON.stringify({
      data: isLatent ? { kind: 'latents', path: latents } : { path: images },
      model: { patchSize, hiddenSize, depth, numHeads, moe },
      // A random model of the noise would give nothing but black and white.
      objective: objective === 'flow' ? { kind: 'flow' } : { kind: 'ddpm', prediction: 'start' },
      initialWeights: start,
      steps: 1,
      batchSize: 2,
      seed: settings.seed,
      sampling: { every: 1, perClass: 1, steps: settings.steps, guidance: settings.guidance, ...(isLatent && { vae }) },
    }),
  );
  const run = path.join(root, name);
  await succeed(train(['train', file, '--out', run]));
  const sheet = decode(fs.readFileSync(path.join(run, 'samples', 'step-00000001.png')));
  const out = path.join(root, `${name}.png`);
  const flags = ['--steps', `${settings.steps}`, '--guidance', `${settings.guidance}`, '--seed', `${settings.seed}`, '--count', '1'];
  // The autoencoder is that of the run, without a word.
  await succeed(sample(['sample', run, ...flags, '--out', out, '--each', path.join(root, `${name}-each`)]));
  const single = tinyCard.classNames.map((label) => decode(fs.readFileSync(path.join(root, `${name}-each`, label, '000.png'))));

  const store = await ModelStore.create([run], {});
  const server = createServer({ host: '127.0.0.1', store, files: new Map(), version: '1', onFailure() {} });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const answer = await fetch(`http://127.0.0.1:${(server.address() as net.AddressInfo).port}/api/samples`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ model: name, labels: [0, 1, 2], ...settings }),
  });
  const events = (await answer.text())
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as SampleEvent);
  const done = events.at(-1) as Extract<SampleEvent, { type: 'done' }>;
  const served = done.images.map((png) => decode(fromBase64(png)));
  store.dispose();

  for (const [label, picture] of single.entries()) {
    expect([picture.width, picture.height]).toEqual([8, 8]);
    expect(new Set(picture.data).size).toBeGreaterThan(8);
    expect(served[label].data).toEqual(picture.data);
    // The sheet of the preview: a column per class, enlarged four times, with lines of four pixels between them.
    const zoom = Math.round(sheet.width / (3 * 9 - 1 / 4));
    for (let y = 0; y < 8; y++)
      for (let x = 0; x < 8; x++)
        for (let c = 0; c < 3; c++)
          expect(sheet.data[(y * zoom * sheet.width + (label * 9 + x) * zoom) * 3 + c], `${label} ${x} ${y} ${c}`).toBe(
            picture.data[(y * 8 + x) * 3 + c],
          );
  }
});
