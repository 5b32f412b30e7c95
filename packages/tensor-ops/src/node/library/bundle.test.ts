import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import { sealManifest } from '../../io/node/sealed-manifest.js';
import { bundleLibrary, unbundleLibrary } from './bundle.js';
import { findLibtensorflow } from './index.js';
import { libraryNames, libraryPlace } from './place.js';

const root = fs.mkdtempSync(path.join(os.tmpdir(), 'bundle-'));
afterAll(() => fs.rmSync(root, { recursive: true }));
afterEach(() => {
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
});
let folders = 0;
const newFolder = () => path.join(root, String(folders++));

/** A library of 300 kB that does not compress, with what a build with CUDA has beside it. */
const library = path.join(root, 'site', 'tensorflow');
const ptxas = path.join(root, 'site/nvidia/cuda_nvcc/bin/ptxas');
const PIECE = 100_000;
let bundle: string;
beforeAll(async () => {
  fs.mkdirSync(library, { recursive: true });
  for (const name of libraryNames) fs.writeFileSync(path.join(library, name), randomBytes(150_000));
  for (const file of ['cublas/lib/libcublas.so.12', 'cublas/lib/libnvblas.so.12', 'cublas/include/cublas.h']) {
    const place = path.join(root, 'site/nvidia', file);
    fs.mkdirSync(path.dirname(place), { recursive: true });
    fs.writeFileSync(place, file);
  }
  fs.mkdirSync(path.dirname(ptxas), { recursive: true });
  fs.writeFileSync(ptxas, 'program', { mode: 0o755 });
  vi.stubEnv('LIBTENSORFLOW_DIR', library);
  bundle = newFolder();
  await bundleLibrary(bundle, PIECE, { gpu: false });
});
const copyOfBundle = () => {
  const copy = newFolder();
  fs.cpSync(bundle, copy, { recursive: true });
  return copy;
};
const placeIn = (cacheDir: string) => libraryPlace({ cacheDir, gpu: false }).target;
const has = (folder: string) =>
  libraryNames.every((name) => fs.readFileSync(path.join(folder, name)).equals(fs.readFileSync(path.join(library, name))));

test('what was packed is put in place, whole, and found there', async () => {
  const pieces = fs.readdirSync(bundle).sort();
  expect(pieces).toEqual(['manifest.json', 'piece-0000', 'piece-0001', 'piece-0002', 'piece-0003']);
  for (const piece of pieces.slice(1, -1)) expect(fs.statSync(path.join(bundle, piece)).size).toBe(PIECE);
  const cacheDir = newFolder();
  const directory = await unbundleLibrary(bundle, { cacheDir });
  expect(has(directory)).toBe(true);
  expect(fs.readdirSync(path.dirname(directory))).toEqual([path.basename(directory)]);
  vi.stubEnv('LIBTENSORFLOW_DIR', '');
  expect(await findLibtensorflow({ cacheDir, gpu: false, fetch: false })).toMatchObject({ source: 'cache', directory });
});

test.skipIf(`${process.platform}-${process.arch}` !== 'linux-x64')(
  'with CUDA: the libraries beside it, programs that run, nothing else',
  async () => {
    vi.stubEnv('LIBTENSORFLOW_DIR', library);
    const [folder, cacheDir] = [newFolder(), newFolder()];
    await bundleLibrary(folder, 1e9, { gpu: true });
    const directory = await unbundleLibrary(folder, { cacheDir });
    const site = path.dirname(directory);
    expect(
      (fs.readdirSync(site, { recursive: true }) as string[]).filter((name) => fs.statSync(path.join(site, name)).isFile()).sort(),
    ).toEqual([
      'manifest.json',
      'nvidia/cublas/lib/libcublas.so.12',
      'nvidia/cuda_nvcc/bin/ptxas',
      'tensorflow/libtensorflow_cc.so.2',
      'tensorflow/libtensorflow_framework.so.2',
    ]);
    expect(fs.statSync(path.join(site, 'nvidia/cuda_nvcc/bin/ptxas')).mode & 0o111).not.toBe(0);
  },
);

const edit = (change: (manifest: Record<string, never>) => object) => (folder: string) => {
  const file = path.join(folder, 'manifest.json');
  const { sha256: _, ...manifest } = JSON.parse(fs.readFileSync(file, 'utf8'));
  fs.writeFileSync(file, JSON.stringify(sealManifest(change(manifest) as { files: Record<string, never> })));
};
test.each<[string, (folder: string) => void, string, RegExp]>([
  [
    'a piece that was not copied',
    (folder) => fs.rmSync(path.join(folder, 'piece-0001')),
    'E_LIBRARY_DAMAGED',
    /piece-0001 is missing\. Copy the bundle/,
  ],
  [
    'a piece that was cut',
    (folder) => fs.truncateSync(path.join(folder, 'piece-0002'), 5),
    'E_LIBRARY_DAMAGED',
    /piece-0002 should have 100000 bytes, but has 5/,
  ],
  [
    'a piece with a flipped byte',
    (folder) => {
      const bytes = fs.readFileSync(path.join(folder, 'piece-0000'));
      bytes[5000] ^= 1;
      fs.writeFileSync(path.join(folder, 'piece-0000'), bytes);
    },
    'E_LIBRARY_DAMAGED',
    /piece-0000 is damaged: its sha256/,
  ],
  [
    'a bundle without manifest',
    (folder) => fs.rmSync(path.join(folder, 'manifest.json')),
    'E_LIBRARY_DAMAGED',
    /manifest\.json cannot be read/,
  ],
  [
    'a damaged manifest',
    (folder) => fs.appendFileSync(path.join(folder, 'manifest.json'), ' x'),
    'E_LIBRARY_DAMAGED',
    /manifest\.json cannot be read/,
  ],
  [
    'another processor',
    edit((manifest) => ({ ...manifest, platform: 'linux-riscv64' })),
    'E_LIBRARY_PLATFORM',
    /for linux-riscv64, but this program needs/,
  ],
  ['another version', edit((manifest) => ({ ...manifest, version: '2.20.0' })), 'E_LIBRARY_PLATFORM', /has TensorFlow 2\.20\.0/],
  [
    'files outside the folder',
    edit(({ content, ...manifest }) => ({ ...manifest, content: { '../../.bashrc': Object.values(content)[0] } })),
    'E_LIBRARY_DAMAGED',
    /not that of a bundle/,
  ],
  [
    'files that are not what was packed',
    edit(({ content, ...manifest }) => ({
      ...manifest,
      content: Object.fromEntries(Object.entries<object>(content).map(([name, file]) => [name, { ...file, sha256: '0' }])),
    })),
    'E_LIBRARY_DAMAGED',
    /libtensorflow_cc.* is not what was packed/,
  ],
  [
    'more files than the pieces have',
    edit(({ content, ...manifest }) => ({ ...manifest, content: { ...(content as object), more: { bytes: 10, sha256: '0' } } })),
    'E_LIBRARY_DAMAGED',
    /The pieces end within more/,
  ],
])('%s is refused, and what was there stays', async (_, harm, code, message) => {
  const copy = copyOfBundle();
  harm(copy);
  const cacheDir = newFolder();
  const before = placeIn(cacheDir);
  fs.mkdirSync(before, { recursive: true });
  fs.writeFileSync(path.join(before, 'mine'), 'mine');
  await expect(unbundleLibrary(copy, { cacheDir })).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
  expect(fs.readdirSync(path.dirname(before))).toEqual([path.basename(before)]);
  expect(fs.readdirSync(before)).toEqual(['mine']);
});

test('what is in place and differs is replaced; several at once leave one whole library', async () => {
  const cacheDir = newFolder();
  const place = placeIn(cacheDir);
  fs.mkdirSync(place, { recursive: true });
  fs.writeFileSync(path.join(place, libraryNames[0]), 'damaged');
  await Promise.all(Array.from({ length: 4 }, () => unbundleLibrary(bundle, { cacheDir })));
  expect(has(place)).toBe(true);
  expect(fs.readdirSync(path.dirname(place))).toEqual([path.basename(place)]);
});

test('a disk without room is found before anything is written, one that fills up while writing after', async () => {
  const cacheDir = newFolder();
  const small = vi.spyOn(fs.promises, 'statfs').mockResolvedValue({ bavail: 10, bsize: 4096 } as fs.StatsFs);
  await expect(unbundleLibrary(bundle, { cacheDir })).rejects.toMatchObject({
    code: 'E_LIBRARY_DISK',
    message: expect.stringMatching(/needs 300000 bytes, and 40960 are free\. .*DIT_MOE_CACHE_DIR/),
  });
  small.mockRestore();
  expect(fs.readdirSync(path.dirname(placeIn(cacheDir)))).toEqual([]);
  if (process.platform !== 'linux') return;
  // The kernel says that this device is full.
  const { open } = fs.promises;
  vi.spyOn(fs.promises, 'open').mockImplementation((file, flags, mode) =>
    flags === 'wx' ? open('/dev/full', 'w') : open(file, flags, mode),
  );
  await expect(unbundleLibrary(bundle, { cacheDir })).rejects.toMatchObject({
    code: 'E_LIBRARY_DISK',
    message: expect.stringMatching(/No space left/),
  });
  expect(fs.readdirSync(path.dirname(placeIn(cacheDir)))).toEqual([]);
});

test('a folder with content is not packed into', async () => {
  vi.stubEnv('LIBTENSORFLOW_DIR', library);
  await expect(bundleLibrary(bundle, PIECE, { gpu: false })).rejects.toMatchObject({ code: 'E_WRITE', where: bundle });
  expect(fs.readdirSync(bundle)).toHaveLength(5);
});

test('a process that is killed while it puts a library in place leaves none, and what it leaves is removed a day later', async () => {
  const cacheDir = newFolder();
  const parent = path.dirname(placeIn(cacheDir));
  const script = `import { putInPlace } from ${JSON.stringify(path.join(import.meta.dirname, 'in-place.ts'))};
    import fs from 'node:fs';
    await putInPlace(${JSON.stringify(placeIn(cacheDir))}, async (folder) => {
      fs.writeFileSync(folder + '/half', 'half');
      process.stdout.write('half');
      await new Promise((resolve) => setTimeout(resolve, 60_000));
      return {};
    });`;
  const child = spawn(process.execPath, ['--import', 'tsx', '--conditions=@dit-moe/source', '--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await new Promise((resolve) => child.stdout.once('data', resolve));
  child.kill('SIGKILL');
  await new Promise((resolve) => child.once('exit', resolve));
  const [left] = fs.readdirSync(parent);
  expect(left).toMatch(/^\.tmp-/);
  // A younger one may be somebody's on another machine.
  expect(has(await unbundleLibrary(bundle, { cacheDir }))).toBe(true);
  expect(fs.readdirSync(parent)).toContain(left);
  const yesterday = new Date(Date.now() - 25 * 3600 * 1000);
  fs.utimesSync(path.join(parent, left), yesterday, yesterday);
  expect(has(await unbundleLibrary(bundle, { cacheDir }))).toBe(true);
  expect(fs.readdirSync(parent)).not.toContain(left);
});
