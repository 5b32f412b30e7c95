/**
 * Measurements in a process of their own, because a peak of memory cannot be taken back. The process runs plain JavaScript, as what users
 * install does: compiling TypeScript while loading it would cost some 65 MiB.
 */
import { fork } from 'node:child_process';
import fs from 'node:fs/promises';
import { builtinModules } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build, type Options } from 'tsup';
import { BenchmarkError } from './benchmark.js';

/** Tells the process which module it was made for. */
const MODULE = 'DIT_MOE_BENCH_MODULE';

/**
 * Runs what `module` gives to {@link answer} in a process of its own.
 *
 * @param module `import.meta.url` of the caller
 * @param request anything that JSON holds
 * @param environment variables beside those of this process
 */
export async function inOwnProcess<T>(module: string, request: unknown, environment: NodeJS.ProcessEnv = {}): Promise<T> {
  const folder = await fs.mkdtemp(path.join(os.tmpdir(), 'dit-moe-bench-'));
  try {
    const program = await bundle(module, folder);
    return await new Promise((resolve, reject) => {
      const child = fork(program, [JSON.stringify(request)], { execArgv: [], env: { ...process.env, ...environment, [MODULE]: module } });
      child.on('message', (value) => resolve(value as T));
      child.on('exit', (code, signal) => reject(new BenchmarkError(`The measurement ended early (${signal ?? `exit code ${code}`}).`)));
    });
  } finally {
    await fs.rm(folder, { recursive: true });
  }
}

/** In a process that was started for `module`, sends what `measure` returns to the parent and ends; elsewhere does nothing. */
export async function answer<T>(module: string, measure: (request: T) => Promise<unknown>): Promise<void> {
  if (process.send === undefined || process.env[MODULE] !== module) return;
  const value = await measure(JSON.parse(process.argv[2]));
  process.send(value, undefined, undefined, () => process.exit());
}

type Plugin = NonNullable<Options['esbuildPlugins']>[number];

/** One file with all sources of this repository; dependencies are imported from where they are installed. */
async function bundle(module: string, folder: string): Promise<string> {
  const dependencies: Plugin = {
    name: 'dependencies',
    setup({ onResolve, onLoad, resolve }) {
      onResolve({ filter: /^[^./]/ }, async ({ path: name, resolveDir, kind, pluginData }) => {
        if (pluginData === dependencies || kind === 'entry-point') return undefined;
        if (builtinModules.includes(name.replace(/^node:/, ''))) return { path: name, external: true };
        const found = await resolve(name, { resolveDir, kind, pluginData: dependencies });
        return found.path.includes('/node_modules/') ? { path: pathToFileURL(found.path).href, external: true } : found;
      });
      // What a source looks for beside itself is not beside the bundle.
      onLoad({ filter: /\.ts$/ }, async ({ path: file }) => ({
        contents: (await fs.readFile(file, 'utf8')).replaceAll('import.meta.url', JSON.stringify(pathToFileURL(file).href)),
        loader: 'ts',
      }));
    },
  };
  await build({
    entry: { program: fileURLToPath(module) },
    outDir: folder,
    format: 'esm',
    outExtension: () => ({ js: '.mjs' }),
    platform: 'node',
    target: 'node20',
    config: false,
    silent: true,
    splitting: false,
    noExternal: [/.*/],
    esbuildPlugins: [dependencies],
    esbuildOptions(options) {
      options.conditions = ['@dit-moe/source', 'node'];
      options.mainFields = ['main', 'module']; // as Node does
    },
  });
  return path.join(folder, 'program.mjs');
}
