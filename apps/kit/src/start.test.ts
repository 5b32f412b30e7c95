/** Help and mistakes answer at once because the entry of a program loads next to nothing; a command loads the rest. */
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { expect, test } from 'vitest';

/** Packages and files that are loaded before any command is known. */
async function loadedAtStart(program: string): Promise<string[]> {
  const { metafile } = await build({
    entryPoints: [fileURLToPath(new URL(`../../${program}/src/cli.ts`, import.meta.url))],
    ...{ bundle: true, write: false, metafile: true, splitting: true, treeShaking: true, outdir: 'out' },
    ...{ platform: 'node', format: 'esm', target: 'node20', conditions: ['@dit-moe/source'], logLevel: 'error' },
    // Packages stay outside, as in what is built: whatever part of one is imported loads the whole entry.
    plugins: [
      {
        name: 'packages-outside',
        setup: (context) =>
          context.onResolve({ filter: /^[^./]/ }, ({ path, kind }) =>
            kind === 'entry-point' || path.startsWith('@dit-moe/kit') ? undefined : { path, external: true },
          ),
      },
    ],
  });
  const outputs = metafile.outputs;
  const entry = Object.keys(outputs).find((name) => outputs[name].entryPoint?.endsWith('/cli.ts'))!;
  const [loaded, waiting] = [new Set<string>(), [entry]];
  for (const name of waiting) {
    for (const input of Object.keys(outputs[name].inputs)) loaded.add(input);
    for (const { path, kind, external } of outputs[name].imports) {
      if (kind === 'dynamic-import') continue;
      if (external) loaded.add(path);
      else if (!waiting.includes(path)) waiting.push(path);
    }
  }
  return [...loaded];
}

test.each([
  ['trainer', []],
  // The list of models that come along, which the help names.
  ['sampler', ['@dit-moe/models']],
])('the %s starts without TensorFlow.js, images, charts and parsers', async (program, own) => {
  const loaded = await loadedAtStart(program);
  const packages = loaded.filter((name) => !name.startsWith('node:') && !/\.ts$/.test(name));
  expect(packages.sort()).toEqual([...own, '@dit-moe/tensor-ops/errors', '@dit-moe/tensor-ops/settings', 'commander', 'picocolors']);
});
