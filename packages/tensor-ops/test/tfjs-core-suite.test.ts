import { execFile } from 'node:child_process';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

const require = createRequire(import.meta.url);
const here = path.dirname(fileURLToPath(import.meta.url));

/** Specs that fail on this runtime although tfjs-node's published list does not name them. */
const exceptions: Record<string, string> = {
  'round test-tensorflow {} int32':
    "tfjs-node's Round kernel asks for float32 whatever the input; TensorFlow 2.9 converted, 2.21 reads the bits as float.",
};

/** Specs that fail on some processors: where TensorFlow's own kernel has no dilation, its words come before those of tfjs' gradient. */
const onSomeProcessors: readonly string[] = ['depthwiseConv2d gradients test-tensorflow {} throws error on dilations > 1'];

/** The ignore list of the installed tfjs-node, read from its own test runner. */
function publishedIgnoreList(): string[] {
  const source = fs.readFileSync(require.resolve('@tensorflow/tfjs-node-gpu/dist/run_tests.js'), 'utf8');
  const list = /var IGNORE_LIST = \[(.*?)\n\];/s.exec(source)![1];
  return [...list.matchAll(/^\s*'(.*)',?$/gm)].map((m) => m[1]);
}

test("tfjs-core's own suite fails only what tfjs-node's published ignore list names", async () => {
  const tsx = pathToFileURL(require.resolve('tsx/esm')).href;
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['--import', tsx, '--conditions=@dit-moe/source', path.join(here, 'tfjs-core-suite.mjs'), path.join(here, '../src/node/index.ts')],
    { maxBuffer: 64 << 20 },
  );
  const { specs, failed } = JSON.parse(stdout.trim().split('\n').at(-1)!) as { specs: number; failed: { name: string; message: string }[] };
  const ignored = publishedIgnoreList();
  expect(ignored.length).toBeGreaterThan(80);
  expect(specs).toBeGreaterThan(4000);
  const unexpected = failed.filter(
    ({ name }) => !(name in exceptions) && !onSomeProcessors.includes(name) && !ignored.some((i) => name.includes(i)),
  );
  expect(unexpected).toEqual([]);
  // An exception that no longer fails must leave the list.
  const failedNames = new Set(failed.map(({ name }) => name));
  expect(Object.keys(exceptions).filter((name) => !failedNames.has(name))).toEqual([]);
});
