import { createHash } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { zipSync } from 'fflate';
import { afterAll, afterEach, describe, expect, test, vi } from 'vitest';
import type { DitMoeError } from '../../errors.js';
import { FormatError } from '../../io/safetensors.js';
import { type Download, fetchLibrary } from './fetch.js';
import { findLibtensorflow, fixFor, LibraryError } from './index.js';
import { type Build, buildFor, TENSORFLOW_VERSION } from './wheels.js';

const root = fs.mkdtempSync(path.join(os.tmpdir(), 'library-'));
afterAll(() => fs.rmSync(root, { recursive: true }));
afterEach(() => vi.unstubAllEnvs());
let folders = 0;
const newFolder = () => fs.mkdtempSync(path.join(root, `${folders++}-`));

const members = ['tensorflow/libtensorflow_cc.so.2', 'tensorflow/libtensorflow_framework.so.2'];
const content = Object.fromEntries(members.map((name, i) => [name, new Uint8Array(200_000).map((_, j) => (j * (i + 3)) % 251)]));
const archive = zipSync({ ...content, 'tensorflow/__init__.py': new Uint8Array(10) });
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
const wheelOf = (bytes: Uint8Array): Build => ({
  kind: 'cpu',
  wheels: [{ project: 'tensorflow-cpu', version: TENSORFLOW_VERSION, platform: 'any', sha256: sha256(bytes), members }],
  layout: 'flat',
});
const leaves =
  (bytes: Uint8Array): Download =>
  async (_wheel, folder) =>
    fs.writeFileSync(path.join(folder, 'fake.whl'), bytes);
const rejection = async (
  promise: Promise<unknown>,
  kind: typeof FormatError | typeof LibraryError = LibraryError,
): Promise<DitMoeError> => {
  const error = await promise.then(
    () => undefined,
    (e: unknown) => e,
  );
  expect(error).toBeInstanceOf(kind);
  return error as DitMoeError;
};

describe('fetching', () => {
  test('unpacks just the libraries, whole, and leaves nothing else', async () => {
    const parent = newFolder();
    const target = path.join(parent, 'cpu');
    const lines: string[] = [];
    await fetchLibrary(wheelOf(archive), target, (line) => lines.push(line), leaves(archive));
    expect(fs.readdirSync(target).sort()).toEqual([...members.map((m) => path.basename(m)), 'manifest.json']);
    for (const name of members) expect(new Uint8Array(fs.readFileSync(path.join(target, path.basename(name))))).toEqual(content[name]);
    expect(fs.readdirSync(parent)).toEqual(['cpu']);
    expect(lines).toEqual([expect.stringContaining('Downloading tensorflow-cpu')]);
  });

  test('with CUDA the folders of all wheels lie side by side, and programs can run', async () => {
    const cuda = zipSync({
      'nvidia/cublas/lib/libcublas.so.12': new Uint8Array(9),
      'nvidia/cuda_nvcc/bin/ptxas': new Uint8Array(5),
      'nvidia/cublas/LICENSE': new Uint8Array(3),
    });
    const gpu = buildFor(true, 'linux-x64')!;
    const archives = [archive, cuda];
    const build: Build = { ...gpu, wheels: archives.map((bytes, i) => ({ ...gpu.wheels[i], project: String(i), sha256: sha256(bytes) })) };
    const target = path.join(newFolder(), 'gpu');
    await fetchLibrary(build, target, undefined, async (wheel, folder) => leaves(archives[Number(wheel.project)])(wheel, folder));
    expect((fs.readdirSync(target, { recursive: true }) as string[]).filter((f) => /\.so|ptxas|LICENSE/.test(f)).sort()).toEqual([
      'nvidia/cublas/lib/libcublas.so.12',
      'nvidia/cuda_nvcc/bin/ptxas',
      ...members,
    ]);
    expect(fs.statSync(path.join(target, 'nvidia/cuda_nvcc/bin/ptxas')).mode & 0o111).not.toBe(0);
    expect(buildFor(true, 'darwin-arm64')?.kind).toBe('cpu');
    expect(buildFor(false, 'linux-x64')?.wheels.length).toBe(1);
    expect(buildFor(false, 'win32-x64')).toBeUndefined();
  });

  test('starts at the same time do not disturb each other', async () => {
    const parent = newFolder();
    const target = path.join(parent, 'cpu');
    await Promise.all(Array.from({ length: 5 }, () => fetchLibrary(wheelOf(archive), target, undefined, leaves(archive))));
    expect(fs.readdirSync(parent)).toEqual(['cpu']);
    expect(fs.readdirSync(target).length).toBe(3);
  });

  const cut = archive.subarray(0, archive.length - 1000);
  const other = zipSync({ a: new Uint8Array(1) });
  const damaged = archive.slice().fill(0xff, 200, 400);
  test.each<[string, Uint8Array, Build, typeof FormatError | typeof LibraryError, RegExp]>([
    ['another file', Uint8Array.of(1, 2, 3), wheelOf(archive), LibraryError, /SHA-256 .* expected/],
    ['a cut file', cut, wheelOf(cut), FormatError, /truncated, or not a zip archive/],
    ['a wheel without the libraries', other, wheelOf(other), FormatError, /no member/],
    ['damage inside a member', damaged, wheelOf(damaged), FormatError, /libtensorflow_cc\.so\.2" (is damaged|does not have)/],
  ])('%s is refused and leaves nothing', async (_name, bytes, wheel, kind, message) => {
    const parent = newFolder();
    const error = await rejection(fetchLibrary(wheel, path.join(parent, 'cpu'), undefined, leaves(bytes)), kind);
    expect(error.message).toMatch(message);
    expect(fs.readdirSync(parent)).toEqual([]);
  });

  test('a failing client is reported with the command to try', async () => {
    const bin = newFolder();
    for (const name of ['python3', 'python', 'pip3', 'pip'])
      fs.writeFileSync(path.join(bin, name), '#!/bin/sh\necho "ERROR: no network" >&2\nexit 1\n', { mode: 0o755 });
    vi.stubEnv('PATH', `${bin}:/usr/bin:/bin`);
    const parent = newFolder();
    const error = await rejection(fetchLibrary(wheelOf(archive), path.join(parent, 'cpu')));
    expect(error.code).toBe('E_LIBRARY_DOWNLOAD');
    expect(error.message).toMatch(/no network/);
    expect(error.message).toMatch(/python3 -m pip download .*tensorflow-cpu==/);
    expect(fs.readdirSync(parent)).toEqual([]);
  });

  test('without Python it is said what is missing, and how to do without', async () => {
    vi.stubEnv('PATH', newFolder());
    const error = await rejection(fetchLibrary(wheelOf(archive), path.join(newFolder(), 'cpu')));
    expect(error.code).toBe('E_LIBRARY_NO_CLIENT');
    expect(error.message).toMatch(/no Python, .* without it: get the wheel of tensorflow-cpu .*, unzip it, and set LIBTENSORFLOW_DIR/);
    expect(fixFor(error)).toMatch(/^export LIBTENSORFLOW_DIR=/);
  });

  test('a full disk and a cache that cannot be written are named, with the way out', async () => {
    const full: Download = async () => {
      throw Object.assign(new Error('full'), { code: 'ENOSPC' });
    };
    const error = await rejection(fetchLibrary(wheelOf(archive), path.join(newFolder(), 'cpu'), undefined, full));
    expect(error).toMatchObject({ code: 'E_LIBRARY_DISK', message: expect.stringMatching(/DIT_MOE_CACHE_DIR/) });
    const denied: Download = async () => {
      throw Object.assign(new Error('denied'), { code: 'EROFS' });
    };
    expect((await rejection(fetchLibrary(wheelOf(archive), path.join(newFolder(), 'cpu'), undefined, denied))).code).toBe('E_LIBRARY_DISK');
  });
});

describe('finding', () => {
  const put = (folder: string, names = members.map((m) => path.basename(m))) => {
    fs.mkdirSync(folder, { recursive: true });
    for (const name of names) fs.writeFileSync(path.join(folder, name), '');
    return folder;
  };

  test.skipIf(process.platform !== 'linux')('LIBTENSORFLOW_DIR comes first, and is never ignored silently', async () => {
    const folder = put(newFolder());
    vi.stubEnv('LIBTENSORFLOW_DIR', folder);
    expect(await findLibtensorflow({ fetch: false })).toMatchObject({ source: 'environment', directory: folder });
    vi.stubEnv('LIBTENSORFLOW_DIR', put(newFolder(), ['libtensorflow_cc.so.2']));
    const error = await rejection(findLibtensorflow());
    expect(error.code).toBe('E_LIBRARY_DIRECTORY');
    expect(error.message).toMatch(/libtensorflow_framework\.so\.2 is not there/);
  });

  test.skipIf(process.platform !== 'linux')('then the cache, then an error that tells every place', async () => {
    vi.stubEnv('LIBTENSORFLOW_DIR', '');
    const cacheDir = newFolder();
    const bin = newFolder();
    fs.writeFileSync(path.join(bin, 'python3'), '#!/bin/sh\nexit 1\n', { mode: 0o755 });
    vi.stubEnv('PATH', `${bin}:/usr/bin:/bin`);
    const error = await rejection(findLibtensorflow({ cacheDir, fetch: false }));
    expect(error.code).toBe('E_LIBRARY_NOT_FOUND');
    expect(error.message).toMatch(/LIBTENSORFLOW_DIR: not set.*not there.*not installed/);
    const cached = put(path.join(cacheDir, 'libtensorflow', `${TENSORFLOW_VERSION}-${process.platform}-${process.arch}-cpu`));
    expect(await findLibtensorflow({ cacheDir, fetch: false })).toMatchObject({ source: 'cache', directory: cached });
    // One that was fetched knows its sizes.
    fs.rmSync(cached, { recursive: true });
    await fetchLibrary(wheelOf(archive), cached, undefined, leaves(archive));
    expect(await findLibtensorflow({ cacheDir, fetch: false })).toMatchObject({ source: 'cache', directory: cached });
    fs.truncateSync(path.join(cached, 'libtensorflow_cc.so.2'), 199_999);
    const cut = await rejection(findLibtensorflow({ cacheDir, fetch: false }));
    expect(cut).toMatchObject({
      code: 'E_LIBRARY_DAMAGED',
      message: expect.stringMatching(/should have 200000 bytes, but has 199999\. .*rm -r /),
    });
    vi.stubEnv('DIT_MOE_CACHE_DIR', cacheDir);
    expect(fixFor(cut)).toBe(`rm -r ${cached}`);
  });
});
