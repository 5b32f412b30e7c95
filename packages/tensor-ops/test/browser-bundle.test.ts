/** The main entries of the libraries bundle for a browser: nothing in them reaches a module of Node. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import esbuild from 'esbuild';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const packages = fileURLToPath(new URL('../..', import.meta.url));

/** Entries for everyone: all but those below `node`. */
const entries = fs.readdirSync(packages).flatMap((folder) => {
  const { name, exports } = JSON.parse(fs.readFileSync(path.join(packages, folder, 'package.json'), 'utf8')) as {
    name: string;
    exports: Record<string, unknown>;
  };
  return Object.keys(exports)
    .filter((entry) => !entry.endsWith('.json') && !entry.split('/').includes('node'))
    .map((entry) => ({ id: path.posix.join(name, entry), folder: path.join(packages, folder) }));
});

/** Bundles `code`; what cannot be resolved for a browser, such as a module of Node, and who asks for it. */
async function unresolved(code: string, resolveDir: string): Promise<string[]> {
  const options: esbuild.BuildOptions = { bundle: true, write: false, platform: 'browser', format: 'esm', logLevel: 'silent' };
  try {
    await esbuild.build({ ...options, stdin: { contents: code, resolveDir }, conditions: ['@dit-moe/source'] });
    return [];
  } catch (error) {
    return (error as esbuild.BuildFailure).errors.map(({ text, location }) => `${text} in ${location?.file}`);
  }
}

describe('bundles for a browser', () => {
  test('there are nine libraries', () => {
    expect(new Set(entries.map(({ folder }) => folder)).size).toBe(9);
  });

  test.each(entries)('$id', async ({ id, folder }) => {
    expect(await unresolved(`import * as all from '${id}'; console.log(all);`, folder)).toEqual([]);
  });

  test('the check finds an import of Node', async () => {
    expect(await unresolved(`import '@dit-moe/tensor-ops/io/node';`, path.join(packages, 'dit'))).toContainEqual(
      expect.stringMatching(/node:fs.* in .*\/io\/node\//),
    );
  });
});

describe('what is exported', () => {
  const root = fs.mkdtempSync(path.join(os.tmpdir(), 'bundles-'));
  afterAll(() => fs.rmSync(root, { recursive: true }));
  const external = ['@tensorflow/tfjs-core', 'fflate', '@dit-moe/*'];
  /** Names of values by entry. */
  const exported: Record<string, string[]> = {};

  /** Every library as it is published: each entry one file, without side effects. */
  beforeAll(async () => {
    for (const folder of new Set(entries.map((entry) => entry.folder))) {
      const { name, exports } = JSON.parse(fs.readFileSync(path.join(folder, 'package.json'), 'utf8')) as {
        name: string;
        exports: Record<string, { '@dit-moe/source': string }>;
      };
      const own = entries.filter((entry) => entry.folder === folder).map(({ id }) => `.${id.slice(name.length)}`);
      const target = path.join(root, 'node_modules', name);
      const { metafile } = await esbuild.build({
        entryPoints: own.map((entry) => ({
          in: path.join(folder, exports[entry]['@dit-moe/source']),
          out: path.join('.', entry === '.' ? 'index' : entry),
        })),
        ...{ bundle: true, splitting: true, format: 'esm', outdir: target, metafile: true, external, conditions: ['@dit-moe/source'] },
        logLevel: 'silent',
      });
      for (const output of Object.values(metafile.outputs))
        if (output.entryPoint !== undefined) (exported[name] ??= []).push(...output.exports);
      const manifest = {
        ...{ name, type: 'module', sideEffects: false },
        exports: Object.fromEntries(own.map((entry) => [entry, entry === '.' ? './index.js' : `${entry}.js`])),
      };
      fs.writeFileSync(path.join(target, 'package.json'), JSON.stringify(manifest));
    }
  });

  // Of these, 3 kB are the errors with their contract and the search for the nearest word.
  test.each([
    ['betaSchedule', '@dit-moe/diffusion', 6_000],
    ['eulerSteps', '@dit-moe/diffusion', 2_500],
    ['balanceLoss', '@dit-moe/moe', 5_000],
    ['precisionRecall', '@dit-moe/metrics', 13_000],
    ['silu', '@dit-moe/tensor-ops', 3_000],
  ])('%s of %s does not bring the rest', async (name, from, most) => {
    const contents = `export { ${name} } from '${from}';`;
    const { outputFiles } = await esbuild.build({
      ...{ stdin: { contents, resolveDir: root }, bundle: true, minify: true, write: false, format: 'esm', logLevel: 'silent' },
      external: external.slice(0, 2),
    });
    expect(outputFiles[0].contents.length).toBeLessThan(most);
  });

  test('no two libraries call different things the same', () => {
    const names = Object.values(exported).flatMap((own) => [...new Set(own)]);
    expect(names.length).toBeGreaterThan(300);
    expect(names.filter((name, i) => names.indexOf(name) !== i)).toEqual([]);
  });
});
