import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { finish } from '@dit-moe/diffusion';
import { bundleProgram } from '@dit-moe/kit/testing';
import { meanPerToken, type RoutedBatch, RoutingCounter } from '@dit-moe/moe/telemetry';
import { openPipeline } from '@dit-moe/pipeline/node';
import { startBackend } from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs-core';
import { decode } from 'fast-png';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { tinyCard, writeTinyModel } from '../../../../packages/pipeline/src/testing/tiny-model.js';
import { drawFigures } from './figures.js';

const root = fs.mkdtempSync(path.join(os.tmpdir(), 'routing-'));
const model = path.join(root, 'model.safetensors');
beforeAll(async () => {
  await startBackend('tensorflow');
  await writeTinyModel(model);
});
afterAll(() => fs.rmSync(root, { recursive: true }));

test('empty slots are no experts, and prototypes are compared by their directions', () => {
  const counter = new RoutingCounter({ numExperts: 3, tokens: 2, classes: 1 });
  counter.add({ layers: [Int32Array.of(1, 3, 3, 3, 3, 3)], labels: Int32Array.of(0), time: 1 });
  counter.add({ layers: [Int32Array.of(2, 0, 1, 1, 3, 3)], labels: Int32Array.of(0), time: 0.5 });
  const { layers, times, evaluations } = counter;
  expect(layers[0]).toMatchObject({ load: [1, 3, 1], perToken: [1, 2, 0, 1] });
  expect(meanPerToken(layers[0])).toBe(5 / 4);
  const counts = { grid: [1, 2], classNames: ['a'], times, evaluations, layers, kinds: [['swiglu', 'copy', 'copy']] } as const;
  const figures = drawFigures(counts, [{ shape: [2, 3], data: Float32Array.of(1, 2, 0, 0, 0, 5) }]);
  expect(figures.map(({ name }) => name)).toEqual([
    ...['layer', 'experts-per-token', 'class', 'position', 'timestep', 'co-activation', 'prototypes'],
  ]);
  for (const expert of ['0 swiglu', '1 copy', '2 copy']) expect(figures[0].svg).toContain(expert);
  expect(figures[1].caption).toMatch(/1\.25 \(0: 25 %, 1: 50 %, 3: 25 %\)/);
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
  const start = await bundleProgram(new URL('../cli.ts', import.meta.url));
  const out = path.join(root, 'figures');
  const { code, err } = await start(['routing', model, '--out', out, '--count', '2', '--steps', '3', '--backend', 'cpu']).ended;
  expect(err).not.toMatch(/error/i);
  expect(code).toBe(0);
  const data = JSON.parse(fs.readFileSync(path.join(out, 'routing.json'), 'utf8'));
  // 2 images of each of 3 classes, 3 steps, 4 patches, 2 experts each.
  expect(data.layers[0].load.reduce((a: number, b: number) => a + b)).toBe(6 * 3 * 4 * 2);
  expect(data).toMatchObject({ router: 'token', summary: [{ perToken: 2, capacity: 2, kinds: { swiglu: 1 } }] });
  const page = fs.readFileSync(path.join(out, 'routing.html'), 'utf8');
  expect(page).toContain('swiglu 100.0 %<td>2.00 of 2');
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
  for (const [args, expected, message] of [
    [[dense], 6, /dense/],
    [[model, '--classes', 'dog'], 2, /no class "dog"/],
  ] as const) {
    const { code, err } = await start(['routing', ...args, '--out', out, '--backend', 'cpu']).ended;
    expect(err).toMatch(message);
    expect(code).toBe(expected);
    // Told before anything that takes time.
    expect(err).not.toMatch(/loading the weights/);
  }
});
