/** The examples of the README are the files beside this one; they run, and give what they say. */
import fs from 'node:fs';
import { randomUniform } from '@dit-moe/tensor-ops';
import { expect, test } from 'vitest';
import { slicedWasserstein } from './mixture.js';

const text = (file: string): string => fs.readFileSync(new URL(file, import.meta.url), 'utf8');
const spiral = (u: number) => [2 * u * Math.cos(9 * u), 2 * u * Math.sin(9 * u)] as const;

test('the first example samples the two points in a few lines', async () => {
  const example = text('two-points.ts');
  expect(text('../README.md')).toContain(example);
  expect(example.split('\n').filter((line) => line !== '').length).toBeLessThanOrEqual(7);
  const { points } = await import('./two-points.js');
  const found = [...(await points.data())];
  expect(found.every((point) => Math.abs(Math.abs(point) - 1) < 0.05)).toBe(true);
  // Five standard deviations of 1000 throws of a coin.
  expect(Math.abs(found.filter((point) => point > 0).length - 500)).toBeLessThan(80);
});

test('the second example learns a spiral and samples it', async () => {
  const example = text('spiral.ts');
  expect(text('../README.md')).toContain(example);
  expect(example.split('\n').filter((line) => line !== '').length).toBeLessThanOrEqual(30);
  const { points } = await import('./spiral.js');
  const found = [...(await points.data())];
  // Noise itself is at 0.24, 2000 other points of the spiral at 0.04.
  const truth = [...randomUniform({ seed: 9, purpose: 'spiral', index: 0 }, 2000)].flatMap(spiral);
  expect(slicedWasserstein(found, truth)).toBeLessThan(0.1);
  // Mean distance to the curve; that of noise is 0.43.
  const curve = Array.from({ length: 400 }, (_, k) => spiral(k / 400));
  const distances = Array.from({ length: 2000 }, (_, i) =>
    Math.min(...curve.map(([x, y]) => Math.hypot(found[2 * i] - x, found[2 * i + 1] - y))),
  );
  expect(distances.reduce((sum, distance) => sum + distance, 0) / 2000).toBeLessThan(0.12);
});
