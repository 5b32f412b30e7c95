import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { loadCApi, whoMayReplace } from './c-api.js';
import { findLibtensorflow, fixFor } from './library/index.js';
import { LibraryLoadError } from './library-load-error.js';

let folder: string;
let real: string;
beforeAll(async () => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'c-api-'));
  real = (await findLibtensorflow()).directory;
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

const names = ['libtensorflow_framework.so.2', 'libtensorflow_cc.so.2'] as const;

/** A folder with the real first library and `content` as the second. */
function withSecond(content: Uint8Array | string): string {
  const here = fs.mkdtempSync(path.join(folder, 'case-'));
  fs.symlinkSync(path.join(real, names[0]), path.join(here, names[0]));
  fs.writeFileSync(path.join(here, names[1]), content);
  return here;
}

function firstBytes(count: number): Buffer {
  const bytes = Buffer.alloc(count);
  const file = fs.openSync(path.join(real, names[1]), 'r');
  fs.readSync(file, bytes, 0, count, 0);
  fs.closeSync(file);
  return bytes;
}

test.skipIf(process.platform !== 'linux').each([
  ['cut off', () => firstBytes(1 << 20), /libtensorflow_cc\.so\.2: it is cut off: 1048576 of \d+ bytes/],
  ['empty', () => '', /no shared library/],
  ['something else', () => 'x'.repeat(1000), /no shared library/],
  [
    'for another processor',
    () => {
      const bytes = firstBytes(1000);
      bytes.writeUInt16LE(process.arch === 'arm64' ? 62 : 183, 0x12);
      return bytes;
    },
    /it is for (arm64|x64), and this machine is (x64|arm64)/,
  ],
])('a library that is %s is refused before it can end the process', (_, content, message) => {
  const directory = withSecond(content());
  let error: unknown;
  try {
    loadCApi(directory);
  } catch (caught) {
    error = caught;
  }
  expect(error).toBeInstanceOf(LibraryLoadError);
  expect((error as Error).message).toMatch(message);
  // Only what was downloaded may be deleted; else it belongs to Python or to whoever set the variable.
  expect(fixFor(error)).toMatch(/pip uninstall tensorflow/);
  vi.stubEnv('DIT_MOE_CACHE_DIR', folder);
  expect(fixFor(error)).toBe(`rm -r ${directory}`);
  vi.stubEnv('LIBTENSORFLOW_DIR', directory);
  expect(fixFor(error)).toBe('unset LIBTENSORFLOW_DIR');
  vi.unstubAllEnvs();
});

test.skipIf(process.platform !== 'linux')('what TensorFlow would not find is loaded before it, and does not harm if it cannot be', () => {
  const site = fs.mkdtempSync(path.join(folder, 'site-'));
  const [library, cusolver] = [path.join(site, 'tensorflow'), path.join(site, 'nvidia/cusolver/lib/libcusolver.so.11')];
  fs.symlinkSync(real, library);
  fs.mkdirSync(path.dirname(cusolver), { recursive: true });
  fs.writeFileSync(cusolver, 'no library');
  expect(loadCApi(library)).toBeDefined();
  const some = (process.report.getReport() as { sharedObjects: string[] }).sharedObjects.find((name) => /\/libm\.so/.test(name))!;
  fs.copyFileSync(some, cusolver);
  loadCApi(library);
  expect(fs.readFileSync('/proc/self/maps', 'utf8')).toContain(cusolver);
});

test.skipIf(process.platform !== 'linux')('a missing and a foreign library are named', () => {
  const empty = fs.mkdtempSync(path.join(folder, 'case-'));
  expect(() => loadCApi(empty)).toThrow(/libtensorflow_framework\.so\.2 is missing/);
  // A whole library, but not TensorFlow's.
  const foreign = withSecond('');
  fs.rmSync(path.join(foreign, names[1]));
  fs.symlinkSync(path.join(real, names[0]), path.join(foreign, names[1]));
  expect(() => loadCApi(foreign)).toThrow(/has no function TF_/);
});

test('who may replace a file: everybody, a group, or its owner alone', () => {
  const may = (mode: number, uid: number, gid: number, isFolder = true) => whoMayReplace({ mode, uid, gid }, isFolder);
  expect(may(0o755, 1000, 50)).toBeUndefined();
  expect(may(0o777, 1000, 1000)).toBe('everybody on this machine');
  expect(may(0o775, 1000, 50)).toBe('every member of the group 50');
  // A group that is the user's alone.
  expect(may(0o775, 1000, 1000)).toBeUndefined();
  expect([may(0o1777, 0, 50), may(0o1775, 0, 50)]).toEqual([undefined, undefined]);
  expect(may(0o1666, 0, 50, false)).toBe('everybody on this machine');
});

test.skipIf(process.platform === 'win32')('a library that everybody may replace is refused; in a sticky folder only its owner may', () => {
  const here = fs.mkdtempSync(path.join(folder, 'writable-'));
  for (const name of names) fs.symlinkSync(path.join(real, name), path.join(here, name));
  fs.chmodSync(here, 0o777);
  expect(() => loadCApi(here)).toThrow(/everybody on this machine may change .*chmod -R go-w/);
  fs.chmodSync(here, 0o1777);
  expect(loadCApi(here).TF_Version()).toMatch(/^2\./);
  fs.chmodSync(here, 0o755);
});
