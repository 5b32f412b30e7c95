import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { finish } from '@dit-moe/diffusion';
import type { RoutedBatch } from '@dit-moe/pipeline';
import { openPipeline } from '@dit-moe/pipeline/node';
import { startBackend } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs-core';
import { decode } from 'fast-png';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { tinyCard, writeTinyModel } from '../../../../packages/pipeline/src/testing/tiny-model.js';
import { bundleCli } from '../testing/run-cli.js';
import { columnShares, evenness, meanPerToken, RoutingCounter, specialisation } from './counts.js';
import { drawFigures } from './figures.js';

const root = fs.mkdtempSync(path.join(os.tmpdir(), 'routing-'));
const model = path.join(root, 'model.safetensors');
beforeAll(async () => {
  await startBackend('tensorflow');
  await writeTinyModel(model);
});
afterAll(() => fs.rmSync(root, { recursive: true }));

describe('numbers', () => {
  test('specialisation is 1 where the column decides, 0 where it does not matter', () => {
    const decides = [
      [5, 0, 0],
      [0, 7, 2],
    ];
    const indifferent = [
      [2, 4, 6],
      [1, 2, 3],
    ];
    expect(specialisation(decides)).toBeCloseTo(1, 12);
    expect(specialisation(indifferent)).toBeCloseTo(0, 12);
    expect(columnShares(indifferent)).toEqual([
      [2 / 3, 2 / 3, 2 / 3],
      [1 / 3, 1 / 3, 1 / 3],
    ]);
    expect([evenness([3, 3, 3]), evenness([9, 0, 0])]).toEqual([1, 0]);
  });

  test('count every conditional token once per choice, as a plain loop does', () => {
    const counter = new RoutingCounter(4, [1, 2], ['a', 'b']);
    // Three images of two tokens with two choices each; the last image is unconditional.
    const batch: RoutedBatch = {
      layers: [Int32Array.of(0, 1, 2, 3, 1, 0, 0, 2, 3, 3, 3, 3)],
      labels: Int32Array.of(0, 1, 2),
      time: 1,
    };
    counter.add(batch);
    counter.add({ ...batch, time: 0.5 });
    const { layers, times, evaluations } = counter.counts;
    expect([times, evaluations]).toEqual([[1, 0.5], 4]);
    expect(layers[0]).toEqual({
      load: [6, 4, 4, 2],
      byClass: [
        [2, 4],
        [2, 2],
        [2, 2],
        [2, 0],
      ],
      byPosition: [
        [4, 2],
        [4, 0],
        [0, 4],
        [0, 2],
      ],
      byTime: [
        [3, 3],
        [2, 2],
        [2, 2],
        [1, 1],
      ],
      coActivation: [
        [6, 4, 2, 0],
        [4, 4, 0, 0],
        [2, 0, 4, 2],
        [0, 0, 2, 2],
      ],
      perToken: [0, 0, 8, 0, 0],
    });
  });

  test('empty slots are no experts, and prototypes are compared by their directions', () => {
    const counter = new RoutingCounter(3, [1, 2], ['a']);
    counter.add({ layers: [Int32Array.of(1, 3, 3, 3, 3, 3)], labels: Int32Array.of(0), time: 1 });
    counter.add({ layers: [Int32Array.of(2, 0, 1, 1, 3, 3)], labels: Int32Array.of(0), time: 0.5 });
    const [layer] = counter.counts.layers;
    expect(layer).toMatchObject({ load: [1, 3, 1], perToken: [1, 2, 0, 1] });
    expect(meanPerToken(layer)).toBe(5 / 4);
    const figures = drawFigures(counter.counts, [{ shape: [2, 3], data: Float32Array.of(1, 2, 0, 0, 0, 5) }]);
    expect(figures.map(({ name }) => name)).toEqual([
      ...['layer', 'experts-per-token', 'class', 'position', 'timestep', 'co-activation', 'prototypes'],
    ]);
    expect(figures[1].caption).toMatch(/1\.25 \(0: 25 %, 1: 50 %, 3: 25 %\)/);
  });
});

test('watching the routers changes no image and leaves no tensor', async () => {
  const before = tf.memory().numTensors;
  const opened = await openPipeline(model);
  const images = [0, 1, 2].map((label, index) => ({ label, index }));
  const settings = { solver: 'euler', steps: 3, guidance: 2, seed: 1 } as const;
  const seen: RoutedBatch[] = [];
  const [watched, plain] = [
    await finish(opened.solve({ ...settings, images, onRouting: (routing) => seen.push(routing) })),
    await finish(opened.solve({ ...settings, images })),
  ];
  expect(await watched.data()).toEqual(await plain.data());
  tf.dispose([watched, plain]);
  expect(seen.map(({ time }) => time)).toEqual([1, 2 / 3, 1 / 3].map((t) => expect.closeTo(t, 6)));
  // Guidance: 6 images; 4 patches with 2 of 3 experts, never twice the same.
  for (const { layers, labels } of seen) {
    expect([...labels]).toEqual([0, 1, 2, 3, 3, 3]);
    expect(layers.map((l) => l.length)).toEqual([6 * 4 * 2]);
    for (let i = 0; i < layers[0].length; i += 2) expect(layers[0][i]).not.toBe(layers[0][i + 1]);
  }
  opened.dispose();
  expect(tf.memory().numTensors).toBe(before);
});

test('the command draws every figure', async () => {
  const start = await bundleCli(root);
  const out = path.join(root, 'figures');
  const { code, err } = await start(['routing', model, '--out', out, '--count', '2', '--steps', '3', '--backend', 'cpu']).ended;
  expect(err).not.toMatch(/error/i);
  expect(code).toBe(0);
  const data = JSON.parse(fs.readFileSync(path.join(out, 'routing.json'), 'utf8'));
  // 2 images of each of 3 classes, 3 steps, 4 patches, 2 experts each.
  expect(data.layers[0].load.reduce((a: number, b: number) => a + b)).toBe(6 * 3 * 4 * 2);
  expect(data).toMatchObject({ router: 'token', summary: [{ perToken: 2, capacity: 2 }] });
  const page = fs.readFileSync(path.join(out, 'routing.html'), 'utf8');
  expect(page).toContain('2.00 of 2');
  expect(page).not.toMatch(/(src|href)="http/);
  for (const name of ['layer', 'class', 'position', 'timestep', 'co-activation']) {
    expect(fs.readFileSync(path.join(out, `${name}.svg`), 'utf8')).toMatch(/^<svg[^>]*xmlns=.*<rect/s);
    const { width, data: pixels } = decode(fs.readFileSync(path.join(out, `${name}.png`)));
    expect(width).toBeGreaterThan(300);
    expect(new Set(pixels).size).toBeGreaterThan(8);
    expect(page).toContain(`id="${name}"`);
  }
  const dense = path.join(root, 'dense.safetensors');
  const { moe: _, ...config } = tinyCard.config;
  await writeTinyModel(dense, { ...tinyCard, config });
  expect(await start(['routing', dense, '--out', out, '--backend', 'cpu']).ended).toMatchObject({
    code: 6,
    err: expect.stringMatching(/dense/),
  });
});
