/**
 * What files hold, as one number: the same for copies, other for anything that was replaced, however a program holds the images
 * afterwards.
 */
import { createHash } from 'node:crypto';
import fs from 'node:fs/promises';
import { inOrder } from '../in-order.js';
import { ImageSourceError } from './image-source.js';
import { unreadable } from './locate.js';

/** Bytes up to which everything is read: a second or two. Of larger sets sizes and samples are taken. */
const FULLY_READ_BYTES = 2 ** 30;
/** Bytes of a sample. A PNG's last ones hold checksums of all its pixels, a JPEG's those of the last row. */
const SAMPLE_BYTES = 64;
/** Files read at once. */
const AT_ONCE = 16;
const CHUNK_BYTES = 2 ** 20;

/** A piece of a file: `[offset, length]`; without them all of it. */
export interface Piece {
  file: string | Buffer;
  offset?: number;
  length?: number;
}

/**
 * sha256 over pieces of files in their order: all bytes if they are at most {@link FULLY_READ_BYTES}, else of each its size and 64 bytes
 * from its beginning, its middle and its end.
 *
 * A file that is not there counts as such: its images are unreadable in their turn.
 */
export async function contentOf(pieces: readonly Piece[]): Promise<string> {
  const sized = await sizes(pieces);
  const total = sized.reduce((sum, { length }) => sum + length, 0);
  const digest = total <= FULLY_READ_BYTES ? wholeOf : sampleOf;
  const hash = createHash('sha256');
  for await (const part of inOrder(0, sized.length, AT_ONCE, (i) => digest(sized[i]))) hash.update(part).update('\n');
  return hash.digest('hex');
}

type Sized = Required<Piece>;

async function sizes(pieces: readonly Piece[]): Promise<Sized[]> {
  const sized = pieces.map(({ file, offset = 0, length = -1 }) => ({ file, offset, length }));
  const unknown = [...pieces.keys()].filter((i) => pieces[i].length === undefined);
  const sizeOf = async (i: number): Promise<number> => {
    const stat = await fs.stat(pieces[unknown[i]].file).catch(() => undefined);
    return stat?.isFile() ? stat.size : -1;
  };
  let next = 0;
  for await (const size of inOrder(0, unknown.length, AT_ONCE, sizeOf)) sized[unknown[next++]].length = size;
  return sized;
}

async function wholeOf({ file, offset, length }: Sized): Promise<string> {
  if (length < 0) return 'missing';
  return opened(file, async (handle) => {
    const hash = createHash('sha256');
    const chunk = new Uint8Array(Math.min(length, CHUNK_BYTES));
    for (let done = 0; done < length; ) {
      const { bytesRead } = await handle.read(chunk, 0, Math.min(chunk.length, length - done), offset + done);
      if (bytesRead === 0) break;
      hash.update(chunk.subarray(0, bytesRead));
      done += bytesRead;
    }
    return `${length} ${hash.digest('hex')}`;
  });
}

async function sampleOf({ file, offset, length }: Sized): Promise<string> {
  if (length < 0) return 'missing';
  return opened(file, async (handle) => {
    const bytes = new Uint8Array(3 * SAMPLE_BYTES);
    const size = Math.min(SAMPLE_BYTES, length);
    for (const [i, at] of [0, Math.floor((length - size) / 2), length - size].entries())
      await handle.read(bytes, i * SAMPLE_BYTES, size, offset + at);
    return `${length} ${Buffer.from(bytes).toString('base64')}`;
  });
}

async function opened<T>(file: string | Buffer, work: (handle: fs.FileHandle) => Promise<T>): Promise<T | string> {
  const handle = await fs.open(file, 'r').catch((error: NodeJS.ErrnoException) => {
    // Unreadable images are skipped when it is their turn; a process out of files is another matter.
    if (error.code === 'EMFILE' || error.code === 'ENFILE') throw new ImageSourceError(String(file), unreadable(error), { cause: error });
    return undefined;
  });
  if (handle === undefined) return 'missing';
  try {
    return await work(handle);
  } finally {
    await handle.close();
  }
}
