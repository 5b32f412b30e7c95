/** The examples of the README run as they stand, one after another, and the layers learn. */
import fs from 'node:fs';
import * as tensorOps from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs';
import ts from 'typescript';
import { expect, test } from 'vitest';
import * as dispatch from './dispatch/index.js';
import * as root from './index.js';
import * as selectors from './select/index.js';

const modules: Record<string, unknown> = {
  '@dit-moe/moe': root,
  '@dit-moe/moe/dispatch': dispatch,
  '@dit-moe/moe/selectors': selectors,
  '@dit-moe/tensor-ops': tensorOps,
  '@tensorflow/tfjs': tf,
};

/** Runs a module of imports and statements; returns what it printed. */
async function runExample(code: string): Promise<unknown[][]> {
  const lines: unknown[][] = [];
  const { outputText } = ts.transpileModule(code, { compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext } });
  const body = outputText.replace(
    /import (\* as )?(.+) from '(.+)';/g,
    (_, _all, names: string, from: string) => `const ${names} = modules['${from}'];`,
  );
  const AsyncFunction = (async () => {}).constructor as new (...args: string[]) => (...args: unknown[]) => Promise<void>;
  await new AsyncFunction('modules', 'console', body)(modules, { log: (...args: unknown[]) => lines.push(args) });
  return lines;
}

test('the examples of the README run and learn', async () => {
  await tf.setBackend('cpu');
  const readme = fs.readFileSync(new URL('../README.md', import.meta.url), 'utf8');
  const blocks = [...readme.matchAll(/```ts\n([\s\S]+?)```/g)].map(([, block]) => block);
  expect(blocks.length).toBe(4);
  const lines = await runExample([...blocks, 'console.log(model, x);'].join('\n'));
  const losses = lines.slice(0, 4).map(([, loss]) => Number(loss));
  expect(losses[3]).toBeLessThan(losses[0] / 5);
  const [, load] = lines[4] as [string, number[]];
  expect(load.reduce((a, b) => a + b)).toBe(512);
  expect(lines[5][1]).toBe('gate experts.gateUp experts.down shared.gateUp shared.down');
  const [, first, last] = lines[6] as [string, number, number];
  expect(last).toBeLessThan(first / 1.5);

  const [model, x] = lines[7] as [tf.LayersModel, tf.Tensor];
  let artifacts: tf.io.ModelArtifacts | undefined;
  await model.save(
    tf.io.withSaveHandler(async (all) => {
      artifacts = all;
      return { modelArtifactsInfo: { dateSaved: new Date(0), modelTopologyType: 'JSON' } };
    }),
  );
  const again = await tf.loadLayersModel(tf.io.fromMemory(artifacts!));
  expect(again.predict(x) as tf.Tensor).toBeCloseTensor(model.predict(x) as tf.Tensor, 0);
});
