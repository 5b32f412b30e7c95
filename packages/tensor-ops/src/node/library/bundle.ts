/**
 * A library as a folder that can be carried to machines without network: one compressed stream in pieces of a chosen size, and a manifest
 * with the size and hash of each piece and each file. What is put in place has been compared with both.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import fs from 'node:fs/promises';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createGzip } from 'node:zlib';
import { createFolderAtomically } from '../../io/node/atomic.js';
import type { WrittenFile } from '../../io/node/safetensors-file.js';
import { checkFiles, MANIFEST, readManifest, type SealedManifest, sealManifest } from '../../io/node/sealed-manifest.js';
import { WriteError } from '../../io/node/write-error.js';
import { noSpace, putInPlace } from './in-place.js';
import { findLibtensorflow } from './index.js';
import { LibraryError } from './library-error.js';
import { type FindOptions, libraryNames, libraryPlace } from './place.js';
import { cudaMembers, TENSORFLOW_VERSION } from './wheels.js';

/** What the manifest of a bundle says besides its pieces. */
interface BundleContent {
  /** TensorFlow's version. */
  version: string;
  /** Such as `linux-x64`. */
  platform: string;
  /** `gpu` has the CUDA libraries as well. */
  kind: 'cpu' | 'gpu';
  /** The files of the library in the order of the stream. */
  content: Record<string, WrittenFile & { program?: boolean }>;
}

/** A bundle that was written. */
export interface WrittenBundle {
  version: string;
  platform: string;
  kind: 'cpu' | 'gpu';
  pieces: number;
  bytes: number;
}

/**
 * Packs the TensorFlow library that this machine uses, which is fetched first if it is not here.
 *
 * @param folder new or empty
 * @param pieceBytes largest piece
 * @param options `gpu`: the build with CUDA (default: whether an NVIDIA driver is loaded)
 * @throws LibraryError if there is no library; WriteError if the folder cannot be written or has content
 */
export async function bundleLibrary(folder: string, pieceBytes: number, options: FindOptions = {}): Promise<WrittenBundle> {
  if ((await fs.readdir(folder).catch(() => [])).length > 0)
    throw new WriteError(`Cannot write ${folder}: a folder with content is in the way.`, { where: folder, hint: 'Choose another path.' });
  const { directory } = await findLibtensorflow(options);
  const { kind, platform } = libraryPlace(options);
  const sources = await libraryFiles(directory, kind);
  const content: BundleContent['content'] = {};
  let pieces: Record<string, WrittenFile> = {};
  options.onProgress?.(`Packing ${directory} into ${folder} ...`);
  await createFolderAtomically(folder, async (temporary) => {
    await pipeline(
      async function* () {
        for (const [name, file] of Object.entries(sources)) {
          const [hash, { mode }] = [createHash('sha256'), await fs.stat(file)];
          let bytes = 0;
          for await (const chunk of createReadStream(file, { highWaterMark: 2 ** 20 })) {
            hash.update(chunk);
            bytes += chunk.length;
            yield chunk;
          }
          content[name] = { bytes, sha256: hash.digest('hex'), ...((mode & 0o100) !== 0 && name.includes('/bin/') && { program: true }) };
        }
      },
      createGzip(),
      async (stream: AsyncIterable<Buffer>) => {
        pieces = await writePieces(temporary, pieceBytes, stream);
      },
    );
    const manifest = sealManifest<BundleContent & { files: typeof pieces }>({
      ...{ version: TENSORFLOW_VERSION, platform, kind, content },
      files: pieces,
    });
    await fs.writeFile(path.join(temporary, MANIFEST), `${JSON.stringify(manifest, null, 2)}\n`, { flush: true });
  });
  const sizes = Object.values(pieces).map(({ bytes }) => bytes);
  return { ...{ version: TENSORFLOW_VERSION, platform, kind, pieces: sizes.length }, bytes: sizes.reduce((a, b) => a + b, 0) };
}

/** The files of a library by their names in its place in the cache, wherever it was found. */
async function libraryFiles(directory: string, kind: BundleContent['kind']): Promise<Record<string, string>> {
  const site = path.dirname(directory);
  const own = libraryNames.map((name) => [kind === 'gpu' ? `tensorflow/${name}` : name, path.join(directory, name)]);
  if (kind === 'cpu') return Object.fromEntries(own);
  const beside = (await fs.readdir(path.join(site, 'nvidia'), { recursive: true }).catch(() => [])).map((name) => `nvidia/${name}`);
  const cuda = beside.filter((name) => cudaMembers.test(name)).sort();
  return Object.fromEntries([...own, ...cuda.map((name) => [name, path.join(site, name)])]);
}

async function writePieces(folder: string, most: number, stream: AsyncIterable<Buffer>): Promise<Record<string, WrittenFile>> {
  const pieces: Record<string, WrittenFile> = {};
  let file: fs.FileHandle | undefined;
  let [hash, bytes] = [createHash('sha256'), 0];
  const close = async (): Promise<void> => {
    if (file === undefined) return;
    await file.sync();
    await file.close();
    pieces[nameOf(Object.keys(pieces).length)] = { bytes, sha256: hash.digest('hex') };
    file = undefined;
  };
  try {
    for await (const chunk of stream)
      for (let done = 0; done < chunk.length; ) {
        if (bytes === most) await close();
        if (file === undefined) {
          file = await fs.open(path.join(folder, nameOf(Object.keys(pieces).length)), 'wx');
          [hash, bytes] = [createHash('sha256'), 0];
        }
        const part = chunk.subarray(done, done + most - bytes);
        await file.writeFile(part);
        hash.update(part);
        bytes += part.length;
        done += part.length;
      }
    await close();
  } finally {
    await file?.close();
  }
  return pieces;
}

/** Names that sort as the stream goes. */
const nameOf = (index: number): string => `piece-${String(index).padStart(4, '0')}`;

/**
 * Checks a bundle and puts its library where {@link findLibtensorflow} finds it. What is there already and differs is replaced.
 *
 * @returns the folder of the library
 * @throws LibraryError E_LIBRARY_DAMAGED if a piece is missing or not what was written, E_LIBRARY_PLATFORM for another machine or version,
 *   E_LIBRARY_DISK without space; whatever was there stays as it was
 */
export async function unbundleLibrary(folder: string, options: Pick<FindOptions, 'cacheDir' | 'onProgress'> = {}): Promise<string> {
  const bundle = await readBundle(folder);
  const { version, platform, kind, content, files } = bundle;
  const here = `${process.platform}-${process.arch}`;
  if (version !== TENSORFLOW_VERSION || platform !== here)
    throw new LibraryError(
      'E_LIBRARY_PLATFORM',
      `${folder} has TensorFlow ${version} for ${platform}, but this program needs ${TENSORFLOW_VERSION} for ${here}. Make a bundle with this version of the program on a machine of this kind.`,
    );
  options.onProgress?.(`Checking ${folder} ...`);
  await checkFiles(folder, bundle).catch((error) => {
    throw damaged(folder, error);
  });
  const { target, directory } = libraryPlace({ ...options, gpu: kind === 'gpu' });
  await checkSpace(path.dirname(target), content);
  options.onProgress?.(`Unpacking to ${target} ...`);
  await putInPlace(
    target,
    async (unpacked) => {
      const pieces = Object.keys(files).sort();
      await pipeline(
        async function* () {
          for (const piece of pieces) yield* createReadStream(path.join(folder, piece), { highWaterMark: 2 ** 20 });
        },
        createGunzip(),
        (stream: AsyncIterable<Buffer>) => writeContent(unpacked, content, stream, folder),
      );
      return Object.fromEntries(Object.entries(content).map(([name, { bytes, sha256 }]) => [name, { bytes, sha256 }]));
    },
    true,
  );
  return directory;
}

const damaged = (folder: string, cause: unknown): LibraryError =>
  new LibraryError('E_LIBRARY_DAMAGED', `${(cause as Error).message} Copy the bundle ${folder} again.`, { directory: folder, cause });

async function readBundle(folder: string): Promise<BundleContent & SealedManifest> {
  const manifest = await readManifest<BundleContent>(folder).catch((error) => {
    throw damaged(folder, error);
  });
  const names = Object.keys(manifest.content ?? {});
  if (names.length === 0 || names.some((name) => path.isAbsolute(name) || path.normalize(name) !== name || name.startsWith('..')))
    throw damaged(folder, new Error(`${path.join(folder, MANIFEST)} is not that of a bundle.`));
  return manifest;
}

async function checkSpace(parent: string, content: BundleContent['content']): Promise<void> {
  await fs.mkdir(parent, { recursive: true });
  const needed = Object.values(content).reduce((sum, { bytes }) => sum + bytes, 0);
  const { bavail, bsize } = await fs.statfs(parent);
  if (bavail * bsize < needed) throw noSpace(parent, undefined, `the library needs ${needed} bytes, and ${bavail * bsize} are free`);
}

/** Cuts the stream into files, each of which is compared with its hash. */
async function writeContent(
  target: string,
  content: BundleContent['content'],
  stream: AsyncIterable<Buffer>,
  folder: string,
): Promise<void> {
  const chunks = stream[Symbol.asyncIterator]();
  let rest: Buffer = Buffer.alloc(0);
  for (const [name, { bytes, sha256, program }] of Object.entries(content)) {
    const [place, hash] = [path.join(target, name), createHash('sha256')];
    await fs.mkdir(path.dirname(place), { recursive: true });
    const file = await fs.open(place, 'wx', program === true ? 0o755 : 0o666);
    try {
      for (let missing = bytes; missing > 0; ) {
        if (rest.length === 0) {
          const { done, value } = await chunks.next();
          if (done === true) throw damaged(folder, new Error(`The pieces end within ${name}.`));
          rest = value;
        }
        const part = rest.subarray(0, missing);
        rest = rest.subarray(part.length);
        missing -= part.length;
        hash.update(part);
        await file.writeFile(part);
      }
      await file.sync();
    } finally {
      await file.close();
    }
    if (hash.digest('hex') !== sha256) throw damaged(folder, new Error(`${name} is not what was packed.`));
  }
}
