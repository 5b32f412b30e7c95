/** A file as a source of bytes: read piece by piece at given positions, so its size does not matter. */
import fs from 'node:fs/promises';
import { ArgumentError } from '../../errors.js';
import type { ByteSource } from '../byte-source.js';
import { FormatError } from '../safetensors.js';

/** Most bytes of one write call; Linux transfers at most 2 GiB at once. */
export const CHUNK_BYTES = 2 ** 28;

/** Large reads are split so, and as many parts are read at once as Node has threads for files: fresh memory is slow to touch. */
const READ_BYTES = 2 ** 22;
const READS_AT_ONCE = 4;

/** An open file. */
export class FileSource implements ByteSource {
  private constructor(
    readonly name: string,
    private readonly file: fs.FileHandle,
    readonly size: number,
  ) {}

  /** @throws FormatError if it is not a file, or the file system's error */
  static async open(path: string): Promise<FileSource> {
    const file = await fs.open(path, 'r');
    try {
      const stat = await file.stat();
      if (!stat.isFile()) throw new FormatError(path, 'it is not a file.');
      return new FileSource(path, file, stat.size);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** @param into memory to read into, at its start; default: of its own. Reused memory is read into several times faster. */
  async read(position: number, length: number, into?: Uint8Array): Promise<Uint8Array> {
    // Before the memory is taken: the length may come from the file.
    if (position < 0 || length < 0 || position + length > this.size)
      throw new FormatError(this.name, `it ends at byte ${this.size}, before byte ${position + length}: truncated.`);
    if (into !== undefined && into.length < length)
      throw new ArgumentError('FileSource.read: into', `at least ${length} bytes`, into.length);
    const bytes = into?.subarray(0, length) ?? new Uint8Array(length);
    let next = 0;
    const readParts = async () => {
      while (next < length) {
        const start = next;
        const end = (next = Math.min(length, start + READ_BYTES));
        for (let done = start; done < end; ) {
          const { bytesRead } = await this.file.read(bytes, done, end - done, position + done);
          if (bytesRead === 0) throw new FormatError(this.name, `the file ended at byte ${position + done}: it was cut while being read.`);
          done += bytesRead;
        }
      }
    };
    await Promise.all(Array.from({ length: Math.min(READS_AT_ONCE, Math.ceil(length / READ_BYTES)) }, readParts));
    return bytes;
  }

  async close(): Promise<void> {
    await this.file.close();
  }
}

/**
 * What `use` makes of an open file; the file is closed if that fails.
 * @internal
 */
export async function openWith<T>(path: string, use: (source: FileSource) => Promise<T>): Promise<T> {
  const source = await FileSource.open(path);
  try {
    return await use(source);
  } catch (error) {
    await source.close();
    throw error;
  }
}
