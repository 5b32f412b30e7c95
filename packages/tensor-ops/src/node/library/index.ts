/**
 * Finding libtensorflow: `LIBTENSORFLOW_DIR`, the cache folder, an installed Python TensorFlow, a download.
 */
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { MANIFEST, readManifest } from '../../io/node/sealed-manifest.js';
import { fetchLibrary, manualInstallation } from './fetch.js';
import { LibraryError } from './library-error.js';
import { cacheDirectory, type FindOptions, hasNvidiaDriver, libraryPlace, missingFiles } from './place.js';
import { buildFor, TENSORFLOW_VERSION } from './wheels.js';

export { LibraryError, type LibraryErrorCode } from './library-error.js';
export { cacheDirectory, type FindOptions } from './place.js';
export { TENSORFLOW_VERSION } from './wheels.js';

/** A place where libtensorflow was looked for, and what was there. */
export interface LibrarySearch {
  place: string;
  result: string;
}

/** Where libtensorflow was found. */
export interface FoundLibrary {
  source: 'environment' | 'cache' | 'python' | 'download';
  /** Folder with the two libraries. */
  directory: string;
  /** The places that were looked at, in order. */
  tried: LibrarySearch[];
}

/** The exact command after which a library in `directory` that cannot be loaded is no longer used. */
export function repairOf(directory: string): string {
  if (process.env['LIBTENSORFLOW_DIR']) return 'unset LIBTENSORFLOW_DIR';
  const inCache = !path.relative(cacheDirectory(), directory).startsWith('..');
  return inCache ? `rm -r ${directory}` : 'python3 -m pip uninstall tensorflow tensorflow-cpu';
}

/** The exact command that removes the reason why libtensorflow could not be used, given the error of finding or loading it. */
export function fixFor(error: unknown): string {
  const { code, directory } = error as { code?: string; directory?: string };
  switch (code) {
    case 'E_LIBRARY_DIRECTORY':
      return 'unset LIBTENSORFLOW_DIR';
    case 'E_LIBRARY_LOAD':
      return repairOf(directory!);
    case 'E_LIBRARY_DAMAGED':
      return directory === undefined ? 'python3 -m pip cache purge' : repairOf(directory);
    case 'E_LIBRARY_NO_CLIENT':
      return 'export LIBTENSORFLOW_DIR=<the folder "tensorflow" of the unzipped wheel>';
    case 'E_LIBRARY_DISK':
      return 'export DIT_MOE_CACHE_DIR=<a folder on a larger disk>';
    default: {
      const build = buildFor(hasNvidiaDriver());
      return build === undefined ? `export LIBTENSORFLOW_DIR=<a folder with TensorFlow ${TENSORFLOW_VERSION}>` : manualInstallation(build);
    }
  }
}

/**
 * Finds libtensorflow, and downloads it if it is nowhere (about 270 MB, once; with CUDA 3 GB).
 *
 * @throws LibraryError `E_LIBRARY_DIRECTORY` if `LIBTENSORFLOW_DIR` is set but lacks a library (there is no silent fallback),
 *   `E_LIBRARY_NOT_FOUND` if nothing is found and `fetch` is false, `E_LIBRARY_PLATFORM`, `E_LIBRARY_DOWNLOAD`, `E_LIBRARY_NO_CLIENT`,
 *   `E_LIBRARY_DAMAGED` and `E_LIBRARY_DISK` as their names say
 */
export async function findLibtensorflow(options: FindOptions = {}): Promise<FoundLibrary> {
  const tried: LibrarySearch[] = [];
  const named = process.env['LIBTENSORFLOW_DIR'];
  if (named !== undefined && named !== '') {
    const missing = missingFiles(named);
    if (missing.length > 0) {
      throw new LibraryError(
        'E_LIBRARY_DIRECTORY',
        `LIBTENSORFLOW_DIR is ${named}, but ${missing.join(' and ')} ${missing.length > 1 ? 'are' : 'is'} not there. Correct it, or unset it to let the library be found or fetched.`,
      );
    }
    return { source: 'environment', directory: named, tried };
  }
  tried.push({ place: 'LIBTENSORFLOW_DIR', result: 'not set' });

  const { build, target, directory: cached } = libraryPlace(options);
  if (missingFiles(cached).length === 0) {
    await checkSeal(target);
    return { source: 'cache', directory: cached, tried };
  }
  tried.push({ place: cached, result: 'not there' });

  const python = pythonTensorFlow();
  if (python !== undefined && missingFiles(python).length === 0) return { source: 'python', directory: python, tried };
  tried.push({ place: 'Python package tensorflow', result: python === undefined ? 'not installed' : `${python} has no libtensorflow_cc` });

  if (build === undefined) {
    throw new LibraryError(
      'E_LIBRARY_PLATFORM',
      `TensorFlow publishes no library for ${process.platform}-${process.arch}. Use --backend wasm, or set LIBTENSORFLOW_DIR to a build of TensorFlow ${TENSORFLOW_VERSION}.`,
    );
  }
  if (options.fetch === false) {
    throw new LibraryError(
      'E_LIBRARY_NOT_FOUND',
      `libtensorflow was not found (${tried.map((t) => `${t.place}: ${t.result}`).join('; ')}).`,
    );
  }
  await fetchLibrary(build, target, options.onProgress);
  return {
    source: 'download',
    directory: cached,
    tried: [...tried, { place: 'download', result: `TensorFlow ${TENSORFLOW_VERSION} (${build.kind})` }],
  };
}

/**
 * Compares the sizes of a fetched library with what was written; its hashes were checked when it was fetched, and would take a second at
 * every start. Folders that people filled themselves have no manifest.
 * @throws LibraryError E_LIBRARY_DAMAGED
 */
async function checkSeal(folder: string): Promise<void> {
  if (!fs.existsSync(path.join(folder, MANIFEST))) return;
  const damaged = (problem: string, cause?: unknown): LibraryError =>
    new LibraryError('E_LIBRARY_DAMAGED', `${problem} Remove the folder, and it is fetched again: rm -r ${folder}`, {
      directory: folder,
      cause,
    });
  const { files } = await readManifest(folder).catch((error: Error) => {
    throw damaged(error.message, error);
  });
  for (const [name, { bytes }] of Object.entries(files)) {
    const size = fs.statSync(path.join(folder, name), { throwIfNoEntry: false })?.size;
    if (size !== bytes)
      throw damaged(`${path.join(folder, name)} should have ${bytes} bytes, but ${size === undefined ? 'is missing' : `has ${size}`}.`);
  }
}

/** Folder of an installed Python `tensorflow` of the pinned version, found without importing it. */
function pythonTensorFlow(): string | undefined {
  const script = `import importlib.util,importlib.metadata as m
for n in ("tensorflow","tensorflow-cpu"):
  try:
    if m.version(n)=="${TENSORFLOW_VERSION}": print(importlib.util.find_spec("tensorflow").submodule_search_locations[0]); break
  except Exception: pass`;
  try {
    const found = execFileSync('python3', ['-c', script], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
      timeout: 20_000,
    }).trim();
    return found === '' ? undefined : found;
  } catch {
    return undefined;
  }
}
