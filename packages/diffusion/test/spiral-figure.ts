/** Draws docs/figures/diffusion-spiral.png: the points of the README's example from noise to data, one panel per stage. */
import fs from 'node:fs';
import { contactSheet, every, finish, type Pixels, sample } from '@dit-moe/diffusion';
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
const pixels: Pixels = {
  data: Uint8Array.from(panels.flatMap((panel) => [...panel])),
  count: panels.length,
  height: SIZE,
  width: SIZE,
  channels: 1,
};
const sheet = contactSheet(pixels, panels.length);
fs.writeFileSync(
  new URL('../../../docs/figures/diffusion-spiral.png', import.meta.url),
  encode({ data: sheet.data, width: sheet.width, height: sheet.height, channels: 1, depth: 8 }),
);
process.exit(0);
