/** The main entries of the libraries bundle for a browser: nothing in them reaches a module of Node. */
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import esbuild from 'esbuild';
import { describe, expect, test } from 'vitest';

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
  test('there are six libraries', () => {
    expect(new Set(entries.map(({ folder }) => folder)).size).toBe(6);
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
