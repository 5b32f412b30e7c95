/** The example of the README runs as it stands and learns. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import * as runtime from '@dit-moe/tensor-ops/node';
import * as tf from '@tensorflow/tfjs-core';
import { ModuleKind, ScriptTarget, transpile } from 'typescript';
import { expect, test } from 'vitest';
import * as vae from './index.js';
import * as node from './node/index.js';

const modules: Record<string, unknown> = {
  '@dit-moe/tensor-ops/node': runtime,
  '@dit-moe/vae': vae,
  '@dit-moe/vae/node': node,
  '@tensorflow/tfjs-core': tf,
};

test('the example of the README runs and learns', async () => {
  const readme = fs.readFileSync(new URL('../README.md', import.meta.url), 'utf8');
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'vae-readme-'));
  const code = /```ts\n([\s\S]+?)```/.exec(readme)![1].replaceAll("'my-vae'", JSON.stringify(path.join(folder, 'my-vae')));
  const body = transpile(code, { target: ScriptTarget.ES2022, module: ModuleKind.ESNext }).replace(
    /import (\* as )?(.+) from '(.+)';/g,
    (_, _all, names: string, from: string) => `const ${names} = modules['${from}'];`,
  );
  const lines: unknown[][] = [];
  try {
    await new Function('modules', 'console', `return (async () => {${body}})();`)(modules, {
      log: (...args: unknown[]) => lines.push(args),
    });
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
  const losses = lines.slice(0, -1).map(([, loss]) => Number(loss));
  expect(losses.length).toBe(4);
  expect(losses.at(-1)!).toBeLessThan(losses[0] / 3);
  expect(lines.at(-1)).toEqual([[16, 4, 4, 4], 16 * 3 * 16 * 16]);
});
