/** The example of the README: it is the file beside this one, it runs, and it gives the moons. */
import fs from 'node:fs';
import { randomUniform } from '@dit-moe/tensor-ops';
import { expect, test } from 'vitest';
import { slicedWasserstein } from './mixture.js';

const text = (file: string): string => fs.readFileSync(new URL(file, import.meta.url), 'utf8');

test('the example of the README trains and samples two moons', async () => {
  expect(text('../README.md')).toContain(text('two-moons.ts'));
  const { points } = await import('./two-moons.js');
  const found = await points.data();
  const uniform = randomUniform({ seed: 9, purpose: 'moons', index: 0 }, found.length);
  const truth = uniform.map((_, i) => {
    const [angle, side] = [Math.PI * uniform[i - (i % 2)]!, uniform[i - (i % 2) + 1]! < 0.5 ? 1 : -1];
    return i % 2 === 0 ? Math.cos(angle) - 0.5 * side : side * (Math.sin(angle) - 0.25);
  });
  // Noise itself is at 0.26; 2000 points of the moons are at 0.02 from 2000 others.
  expect(slicedWasserstein(found, truth)).toBeLessThan(0.1);
});
