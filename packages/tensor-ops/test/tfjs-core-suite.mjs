/**
 * Runs tfjs-core's own test suite (it ships in its npm package) on the TensorFlow runtime, and prints one JSON line:
 * {"specs": n, "failed": [full names]}. Expects the built runtime entry as the first argument.
 *
 * The suite is ES modules without file extensions, which Node cannot load, so it is bundled first. The bundle has a copy of
 * tfjs-core of its own; tfjs keeps its engine and registries in globals, so both copies work as one.
 */
import fs from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import esbuild from 'esbuild';

const require = createRequire(import.meta.url);
const { useTensorFlow } = await import(process.argv[2]);
await useTensorFlow();

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'tfjs-core-suite-'));
process.on('exit', () => fs.rmSync(folder, { recursive: true, force: true }));
const core = path.dirname(require.resolve('@tensorflow/tfjs-core/package.json'));
const bundle = path.join(folder, 'tests.cjs');
esbuild.buildSync({
  stdin: {
    contents: `
      import { setTestEnvs, setupTestFilters } from ${JSON.stringify(path.join(core, 'dist/jasmine_util.js'))};
      setTestEnvs([{ name: 'test-tensorflow', backendName: 'tensorflow', flags: {}, isDataSync: true }]);
      require(${JSON.stringify(path.join(core, 'dist/tests.js'))});
    `,
    resolveDir: core,
  },
  bundle: true,
  platform: 'node',
  format: 'cjs',
  outfile: bundle,
  logLevel: 'error',
  // tfjs-core's "sideEffects" list does not name its tests, which would be shaken out of the bundle.
  ignoreAnnotations: true,
  alias: { 'jasmine-core/lib/jasmine-core/jasmine.js': require.resolve('jasmine-core/lib/jasmine-core/jasmine.js') },
  external: ['node-fetch', 'jasmine-core/*'],
});

const Jasmine = require('jasmine');
const runner = new Jasmine();
runner.exitOnCompletion = false;
runner.loadConfig({ spec_files: [], random: false });
runner.clearReporters();
const failed = [];
let specs = 0;
runner.addReporter({
  specDone(result) {
    if (result.status === 'excluded' || result.status === 'pending') return;
    specs++;
    if (result.status === 'failed') failed.push({ name: result.fullName, message: result.failedExpectations[0]?.message.slice(0, 300) });
  },
});
// The suite warns and logs on purpose; only the result line belongs on stdout.
console.log = console.warn = () => {};
process.on('unhandledRejection', () => {});
globalThis.require = require;
require(bundle);
await runner.execute();
process.stdout.write(`${JSON.stringify({ specs, failed })}\n`);
process.exit(0);
