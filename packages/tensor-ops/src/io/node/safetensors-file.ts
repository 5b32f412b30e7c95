/**
 * Safetensors on disk, one tensor at a time: a file of any size is read and written with one tensor in memory.
 */
import { createHash } from 'node:crypto';
import type { Checkpoint } from '../checkpoint.js';
import {
  encodeHeader,
  FormatError,
  type HostTensor,
  headerLength,
  parseHeader,
  type SafetensorsHeader,
  safetensorsDtypes,
  type TensorBytes,
  type TensorEntry,
  viewTensor,
} from '../safetensors.js';
import { writeAtomically } from './atomic.js';
import { type FileSource, openWith } from './file-source.js';

/** Bytes hashed and written at a time: a few milliseconds of this thread. */
const WRITE_BYTES = 2 ** 22;

/** An open safetensors file. */
export class SafetensorsFile implements Checkpoint {
  readonly format = 'safetensors';

  private constructor(
    private readonly source: FileSource,
    private readonly header: SafetensorsHeader,
  ) {}

  /**
   * Opens a file and checks its header against its size; no tensor is read.
   * @throws FormatError if it is damaged, or the file system's error
   */
  static open(path: string): Promise<SafetensorsFile> {
    return openWith(path, async (source) => {
      const length = headerLength(await source.read(0, Math.min(8, source.size)), source.size, path);
      return new SafetensorsFile(source, parseHeader(await source.read(8, length), source.size, path));
    });
  }

  get path(): string {
    return this.source.name;
  }

  /** Names of the tensors, in the order of the header. */
  get names(): string[] {
    return [...this.header.tensors.keys()];
  }

  get metadata(): Readonly<Record<string, string>> {
    return this.header.metadata;
  }

  /** Shape, type and place of a tensor, or undefined. */
  entry(name: string): TensorEntry | undefined {
    return this.header.tensors.get(name);
  }

  info(name: string): TensorEntry {
    const entry = this.entry(name);
    if (entry === undefined) throw new FormatError(this.path, `it has no tensor "${name}".`);
    return entry;
  }

  /**
   * Bytes of a tensor, or of its part from byte `from` up to byte `to`.
   * @param into memory to read into; default: fresh memory, which takes longer than the reading
   */
  async bytes(name: string, from = 0, to?: number, into?: Uint8Array): Promise<Uint8Array> {
    const entry = this.info(name);
    const end = to ?? entry.end - entry.begin;
    if (from < 0 || end < from || entry.begin + end > entry.end)
      throw new FormatError(this.path, `bytes ${from} to ${end} lie outside "${name}".`);
    return this.source.read(this.header.dataOffset + entry.begin + from, end - from, into);
  }

  /**
   * Reads one tensor.
   * @param into memory to read into, and that the tensor then shares; for loops that need one tensor at a time
   */
  async read(name: string, into?: Uint8Array): Promise<HostTensor> {
    const { dtype, shape } = this.info(name);
    return { dtype, shape, data: viewTensor(await this.bytes(name, 0, undefined, into), dtype) };
  }

  async close(): Promise<void> {
    await this.source.close();
  }
}

/** A tensor to write, whose bytes are made when their turn comes. */
export interface TensorSource extends Omit<TensorBytes, 'bytes'> {
  bytes(): Uint8Array | Promise<Uint8Array>;
}

/** What was written, for a manifest. */
export interface WrittenFile {
  bytes: number;
  /** sha256 of the whole file, hexadecimal. */
  sha256: string;
}

/**
 * Writes a safetensors file, whole or not at all.
 * @throws FormatError if a tensor's bytes do not fit its shape
 */
export async function writeSafetensors(
  path: string,
  tensors: readonly TensorSource[],
  metadata: Readonly<Record<string, string>> = {},
): Promise<WrittenFile> {
  const hash = createHash('sha256');
  let written = 0;
  await writeAtomically(path, async (file) => {
    const append = async (bytes: Uint8Array) => {
      // Hashed by chunks as well: in between, whoever else uses this thread gets a turn.
      for (let done = 0; done < bytes.length; done += WRITE_BYTES) {
        const chunk = bytes.subarray(done, done + WRITE_BYTES);
        hash.update(chunk);
        await file.appendFile(chunk);
      }
      written += bytes.length;
    };
    await append(encodeHeader(tensors, metadata));
    for (const { name, dtype, shape, bytes: make } of tensors) {
      const bytes = await make();
      const expected = shape.reduce((product, n) => product * n, 1) * safetensorsDtypes[dtype];
      if (bytes.length !== expected)
        throw new FormatError(path, `"${name}" [${shape}] ${dtype} should have ${expected} bytes, but has ${bytes.length}.`);
      await append(bytes);
    }
  });
  return { bytes: written, sha256: hash.digest('hex') };
}
