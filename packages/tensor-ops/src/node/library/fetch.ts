/**
 * Fetching libtensorflow: the machine's own Python package client downloads the pinned wheel (so mirrors, proxies and offline
 * indexes work as configured there), its hash is checked, and the libraries are unpacked.
 */
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { FileSource } from '../../io/node/file-source.js';
import { hashFile } from '../../io/node/hash-file.js';
import type { WrittenFile } from '../../io/node/safetensors-file.js';
import { ZipArchive } from '../../io/zip-reader.js';
import { putInPlace } from './in-place.js';
import { LibraryError } from './library-error.js';
import { type Build, PYTHON, type Wheel } from './wheels.js';

const run = promisify(execFile);

/** Package clients that are tried in this order; all take pip's `download` arguments. */
const clients: readonly (readonly [string, ...string[]])[] = [['python3', '-m', 'pip'], ['python', '-m', 'pip'], ['pip3'], ['pip']];

/** pip's arguments that download `wheel` whatever the Python on this machine is. */
export function downloadArguments(wheel: Wheel, folder: string): string[] {
  return [
    'download',
    '--no-deps',
    '--only-binary=:all:',
    '--platform',
    wheel.platform,
    '--python-version',
    PYTHON.version,
    '--implementation',
    'cp',
    '--abi',
    PYTHON.abi,
    `${wheel.project}==${wheel.version}`,
    '-d',
    folder,
  ];
}

/** What a person can run, also on another machine with a network, to get the library of `build` without our help. */
export function manualInstallation({ wheels }: Build): string {
  return [
    ...wheels.map((wheel) => `python3 -m pip ${downloadArguments(wheel, 'wheels').join(' ')}`),
    'for wheel in wheels/*.whl; do python3 -m zipfile -e "$wheel" libtensorflow; done',
    'export LIBTENSORFLOW_DIR=$PWD/libtensorflow/tensorflow',
  ].join(' && ');
}

const wheelCommand = (wheel: Wheel): string => `python3 -m pip ${downloadArguments(wheel, '.').join(' ')}`;

/** A function that leaves the wheel file in `folder`; replaced in tests. */
export type Download = (wheel: Wheel, folder: string) => Promise<void>;

/**
 * Fetches the wheels of `build` and unpacks their libraries into `target`, which either exists complete afterwards or not at all.
 * @throws LibraryError
 */
export function fetchLibrary(
  build: Build,
  target: string,
  onProgress: (message: string) => void = () => {},
  download: Download = pipDownload,
): Promise<void> {
  return putInPlace(target, async (folder, scratch) => {
    for (const [i, wheel] of build.wheels.entries()) {
      const part = build.wheels.length > 1 ? ` (${i + 1} of ${build.wheels.length})` : '';
      onProgress(`Downloading ${wheel.project} ${wheel.version}${part} with the Python package client (once, to ${target}) ...`);
      const place = path.join(scratch, `wheel-${i}`);
      fs.mkdirSync(place);
      await download(wheel, place);
      await unpack(wheel, place, (member) => path.join(folder, build.layout === 'flat' ? path.basename(member) : member));
      fs.rmSync(place, { recursive: true });
    }
    return filesOf(folder);
  });
}

/** Sizes and hashes of what was unpacked. */
async function filesOf(folder: string): Promise<Record<string, WrittenFile>> {
  const files: Record<string, WrittenFile> = {};
  for (const entry of fs.readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const file = path.join(entry.parentPath, entry.name);
    files[path.relative(folder, file).replaceAll(path.sep, '/')] = { bytes: fs.statSync(file).size, sha256: await hashFile(file) };
  }
  return files;
}

/** Checks the one wheel in `folder` and extracts what is needed of it. */
async function unpack(wheel: Wheel, folder: string, target: (member: string) => string): Promise<void> {
  const file = fs.readdirSync(folder).find((name) => name.endsWith('.whl'));
  if (file === undefined) throw new LibraryError('E_LIBRARY_DOWNLOAD', `The package client left no wheel. Try: ${wheelCommand(wheel)}`);
  const archive = path.join(folder, file);
  const hash = await hashFile(archive);
  if (hash !== wheel.sha256) {
    throw new LibraryError(
      'E_LIBRARY_DAMAGED',
      `The downloaded ${file} has the SHA-256 ${hash}, expected ${wheel.sha256}. Clear the package client's cache (python3 -m pip cache purge) and try again.`,
    );
  }
  const source = await FileSource.open(archive);
  try {
    const zip = await ZipArchive.open(source);
    const { members } = wheel;
    const entries =
      members instanceof RegExp
        ? [...zip.entries.values()].filter(({ name }) => members.test(name))
        : members.map((name) => zip.entry(name));
    if (entries.length === 0) throw new LibraryError('E_LIBRARY_DAMAGED', `${archive} has none of the members expected.`);
    for (const entry of entries) {
      const place = target(entry.name);
      fs.mkdirSync(path.dirname(place), { recursive: true });
      // Wheels lose the permission of programs when members are extracted one by one.
      const mode = path.basename(path.dirname(entry.name)) === 'bin' ? 0o755 : 0o666;
      // Checksums are not looked at: the file as a whole has its SHA-256.
      await pipeline(zip.chunks(entry, false), fs.createWriteStream(place, { flush: true, mode }));
    }
  } finally {
    await source.close();
  }
}

async function pipDownload(wheel: Wheel, folder: string): Promise<void> {
  const failures: string[] = [];
  let installed = 0;
  for (const [command, ...prefix] of clients) {
    try {
      await run(command, [...prefix, '--disable-pip-version-check', ...downloadArguments(wheel, folder)], { maxBuffer: 16 << 20 });
      return;
    } catch (error) {
      const { code, stderr } = error as NodeJS.ErrnoException & { stderr?: string };
      if (code !== 'ENOENT') installed++;
      failures.push(
        `${[command, ...prefix].join(' ')}: ${code === 'ENOENT' ? 'not installed' : (stderr ?? String(error)).trim().split('\n').at(-1)}`,
      );
    }
  }
  if (installed === 0)
    throw new LibraryError(
      'E_LIBRARY_NO_CLIENT',
      `this machine has no Python, whose package client would fetch libtensorflow; without it: get the wheel of ${wheel.project} ${wheel.version} for ${wheel.platform} from the Python package index with a browser, unzip it, and set LIBTENSORFLOW_DIR to its folder "tensorflow".`,
    );
  throw new LibraryError(
    'E_LIBRARY_DOWNLOAD',
    `libtensorflow could not be downloaded (${failures.join('; ')}). With a network and Python's pip this command must work: ${wheelCommand(wheel)}`,
  );
}
