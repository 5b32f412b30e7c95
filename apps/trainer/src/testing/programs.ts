/** For tests: programs of this package in processes of their own, bundled once so that starting is quick. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build, type Plugin } from 'esbuild';

/** Our own packages are bundled from source; others stay where they are. */
const foreignOutside: Plugin = {
  name: 'foreign-outside',
  setup(context) {
    context.onResolve({ filter: /^[^./]/ }, async ({ path: name, kind, importer, resolveDir, pluginData }) => {
      if (/^(@dit-moe\/|node:)/.test(name) || kind === 'entry-point' || pluginData === foreignOutside) return undefined;
      const { path: found, external, errors } = await context.resolve(name, { kind, importer, resolveDir, pluginData: foreignOutside });
      return errors.length > 0 || external ? { path: name, external: true } : { path: pathToFileURL(found).href, external: true };
    });
  },
};

export interface Running {
  child: ChildProcessWithoutNullStreams;
  output: { out: string; err: string };
  /** Exit code, or the signal that ended it. */
  ended: Promise<number | NodeJS.Signals | null>;
  /** Resolves when the text has appeared or the process has ended. */
  seen(text: string): Promise<void>;
}

/**
 * Bundles a program of this package.
 * @param source relative to `src`
 * @returns starts it; `prefix` is put before the command, such as a shell that sets limits
 */
export async function bundle(source: string): Promise<(args: readonly string[], prefix?: readonly string[]) => Running> {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'trainer-program-'));
  process.on('exit', () => fs.rmSync(folder, { recursive: true, force: true }));
  const program = path.join(folder, 'program.mjs');
  const entry = fileURLToPath(new URL(`../${source}`, import.meta.url));
  await build({
    ...{ entryPoints: [{ in: entry, out: 'program' }], outdir: folder, outExtension: { '.js': '.mjs' }, bundle: true, logLevel: 'error' },
    // In pieces, as it is published: in one file, modules that are also imported late are evaluated in another order.
    ...{ platform: 'node', format: 'esm', target: 'node20', splitting: true },
    ...{ conditions: ['@dit-moe/source'], mainFields: ['main'], plugins: [foreignOutside] },
  });
  return (args, prefix = []) => {
    const [command, ...rest] = [...prefix, process.execPath, program, ...args];
    const child = spawn(command, rest);
    const output = { out: '', err: '' };
    child.stdout.on('data', (text) => {
      output.out += text;
    });
    child.stderr.on('data', (text) => {
      output.err += text;
    });
    const ended = new Promise<number | NodeJS.Signals | null>((resolve) => child.on('close', (code, signal) => resolve(code ?? signal)));
    const seen = async (text: string) => {
      while (!`${output.out}${output.err}`.includes(text) && child.exitCode === null)
        await new Promise((resolve) => setTimeout(resolve, 25));
    };
    return { child, output, ended, seen };
  };
}
