/** Builds the page: one script, one style sheet, and the worker with TensorFlow.js for models inside the browser. */
import fs from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

/** Kernels of TensorFlow.js, beside the worker; threads need headers that a static host seldom sends, so there are none. */
const WASM = ['tfjs-backend-wasm.wasm', 'tfjs-backend-wasm-simd.wasm'];

/** Writes everything but `config.json` into `folder`. */
export async function buildWeb(folder: string): Promise<void> {
  await build({
    entryPoints: { main: here('./main.tsx'), worker: here('./worker.ts') },
    outdir: folder,
    bundle: true,
    minify: true,
    format: 'esm',
    target: 'es2022',
    jsx: 'automatic',
    jsxImportSource: 'preact',
    conditions: ['@dit-moe/source'],
    define: { 'process.env.NODE_ENV': '"production"' },
    // TensorFlow.js asks for these in branches that only run on Node.
    external: ['fs', 'path', 'crypto', 'worker_threads', 'perf_hooks', 'util', 'os', 'node-fetch', 'string_decoder'],
    logLevel: 'error',
  });
  for (const name of ['index.html', 'main.css']) await fs.copyFile(here(`./${name}`), path.join(folder, name));
  const backend = path.dirname(createRequire(import.meta.url).resolve('@tensorflow/tfjs-backend-wasm/package.json'));
  for (const name of WASM) await fs.copyFile(path.join(backend, 'dist', name), path.join(folder, name));
}
