/**
 * Safetensors on disk, one tensor at a time: a file of any size is read and written with one tensor in memory.
 */
import { createHash } from 'node:crypto';
import fs from 'node:fs/promises';
import {
  decodeTensor,
  encodeHeader,
  FormatError,
  type HostTensor,
  headerLength,
  parseHeader,
  type SafetensorsHeader,
  safetensorsDtypes,
  type TensorBytes,
  type TensorEntry,
} from '../safetensors.js';
import { writeAtomically } from './atomic.js';

/** An open safetensors file. */
export class SafetensorsFile {
  private constructor(
    readonly path: string,
    private readonly file: fs.FileHandle,
    private readonly header: SafetensorsHeader,
  ) {}

  /**
   * Opens a file and checks its header against its size; no tensor is read.
   * @throws FormatError if it is damaged, or the file system's error
   */
  static async open(path: string): Promise<SafetensorsFile> {
    const file = await fs.open(path, 'r');
    try {
      const { size } = await file.stat();
      const prefix = new Uint8Array(8);
      const { bytesRead } = await file.read(prefix, 0, 8, 0);
      const length = headerLength(prefix.subarray(0, bytesRead), size, path);
      const json = await readExactly(file, 8, length, path);
      return new SafetensorsFile(path, file, parseHeader(json, size, path));
    } catch (error) {
      await file.close();
      throw error;
    }
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

  /** Bytes of a tensor, or of its part from byte `from` up to byte `to`. */
  async bytes(name: string, from = 0, to?: number): Promise<Uint8Array> {
    const entry = this.entry(name);
    if (entry === undefined) throw new FormatError(this.path, `it has no tensor "${name}".`);
    const end = to ?? entry.end - entry.begin;
    if (from < 0 || end < from || entry.begin + end > entry.end)
      throw new FormatError(this.path, `bytes ${from} to ${end} lie outside "${name}".`);
    return readExactly(this.file, this.header.dataOffset + entry.begin + from, end - from, this.path);
  }

  /** Reads one tensor. */
  async read(name: string): Promise<HostTensor> {
    const bytes = await this.bytes(name);
    const { dtype, shape } = this.entry(name)!;
    return { dtype, shape, data: decodeTensor(bytes, dtype) };
  }

  async close(): Promise<void> {
    await this.file.close();
  }
}

/** Most bytes of one read or write call; Linux transfers at most 2 GiB at once. */
const CHUNK_BYTES = 2 ** 28;

async function readExactly(file: fs.FileHandle, position: number, length: number, where: string): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  for (let done = 0; done < length; ) {
    const { bytesRead } = await file.read(bytes, done, Math.min(CHUNK_BYTES, length - done), position + done);
    if (bytesRead === 0) throw new FormatError(where, `the file ended at byte ${position + done}: it was cut while being read.`);
    done += bytesRead;
  }
  return bytes;
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
      hash.update(bytes);
      for (let done = 0; done < bytes.length; done += CHUNK_BYTES) await file.appendFile(bytes.subarray(done, done + CHUNK_BYTES));
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
