/** The examples of the README run as they stand, one after another, and the layer learns. */
import fs from 'node:fs';
import * as tf from '@tensorflow/tfjs';
import { expect, test } from 'vitest';
import * as layer from './index.js';

const modules: Record<string, unknown> = { '@dit-moe/moe': layer, '@tensorflow/tfjs': tf };

/** Runs a module of plain imports and statements; returns what it printed. */
function runExample(code: string): string[][] {
  const lines: string[][] = [];
  const body = code.replace(
    /import (\* as )?(.+) from '(.+)';/g,
    (_, _all, names: string, from: string) => `const ${names} = modules['${from}'];`,
  );
  new Function('modules', 'console', body)(modules, { log: (...args: unknown[]) => lines.push(args.map(String)) });
  return lines;
}

test('the examples of the README run and learn', async () => {
  await tf.setBackend('cpu');
  const readme = fs.readFileSync(new URL('../README.md', import.meta.url), 'utf8');
  const code = [...readme.matchAll(/```ts\n([\s\S]+?)```/g)].map(([, block]) => block).join('\n');
  expect(code).toContain('expertChoice(');
  const lines = runExample(code);
  const losses = lines.slice(0, -1).map(([, loss]) => Number(loss));
  expect(losses.length).toBe(4);
  expect(losses.at(-1)!).toBeLessThan(losses[0] / 5);
  const load = lines.at(-1)![1].split(',').map(Number);
  expect(load.reduce((a, b) => a + b)).toBe(512);
});
