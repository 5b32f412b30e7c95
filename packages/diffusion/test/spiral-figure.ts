/** Draws docs/figures/diffusion-spiral.png: the points of the README's example from noise to data, one panel per stage. */
import fs from 'node:fs';
import { every, finish, sample } from '@dit-moe/diffusion';
import type * as tf from '@tensorflow/tfjs-core';
import { encode } from 'fast-png';
import { start, trained } from './spiral.js';

const [SIZE, RANGE, STEPS, EVERY] = [160, 2.5, 10, 2];
const panels: Uint8Array[] = [];

/** Every point a dark pixel, twice the darker. */
async function draw(x: tf.Tensor): Promise<void> {
  const panel = new Uint8Array(SIZE * SIZE).fill(245);
  const points = await x.data();
  for (let i = 0; i < points.length; i += 2) {
    const column = Math.floor(((points[i] + RANGE) / (2 * RANGE)) * SIZE);
    const row = Math.floor(((RANGE - points[i + 1]) / (2 * RANGE)) * SIZE);
    if (column < 0 || column >= SIZE || row < 0 || row >= SIZE) continue;
    panel[row * SIZE + column] = Math.max(0, panel[row * SIZE + column] - 130);
  }
  panels.push(panel);
}

await draw(start);
await finish(every(EVERY, sample(trained, start, { solver: 'heun', steps: STEPS })), ({ x }) => draw(x));
// Side by side, with a white line between them.
const width = panels.length * (SIZE + 1) - 1;
const sheet = new Uint8Array(SIZE * width).fill(255);
for (const [p, panel] of panels.entries())
  for (let y = 0; y < SIZE; y++) sheet.set(panel.subarray(y * SIZE, (y + 1) * SIZE), y * width + p * (SIZE + 1));
fs.writeFileSync(
  new URL('../../../docs/figures/diffusion-spiral.png', import.meta.url),
  encode({ data: sheet, width, height: SIZE, channels: 1, depth: 8 }),
);
process.exit(0);
