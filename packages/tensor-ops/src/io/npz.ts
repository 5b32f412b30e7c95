/**
 * NumPy's .npz format, a zip archive of .npy files: read as a whole or by rows, written as a stream.
 *
 * Sample sets are large (50,000 images of 512 x 512 are 39 GB), so neither direction needs an array in memory.
 */
import { ArgumentError } from '../errors.js';
import { type ByteSource, concatenate } from './byte-source.js';
import { decodeNpyData, encodeNpyHeader, NPY_PROBE_BYTES, type NpyHeader, npyTensor, parseNpyHeader } from './npy.js';
import { encodeTensor, FormatError, type HostTensor, type SafetensorsDtype, safetensorsDtypes } from './safetensors.js';
import { ZipArchive, type ZipEntry } from './zip-reader.js';
import { zipChunks } from './zip-writer.js';

const DEFAULT_ARRAY_BYTES = 2 ** 28;

/** An .npz file whose directory has been read. */
export class Npz {
  private constructor(private readonly archive: ZipArchive) {}

  /** @throws FormatError if it is no zip archive or damaged */
  static async open(source: ByteSource): Promise<Npz> {
    return new Npz(await ZipArchive.open(source));
  }

  /** Names of the arrays, without `.npy`. */
  get names(): string[] {
    return [...this.archive.entries.keys()].filter((name) => name.endsWith('.npy')).map((name) => name.slice(0, -4));
  }

  /** Type and shape of an array. */
  async info(name: string): Promise<NpyHeader> {
    const entry = this.entry(name);
    const where = `${this.archive.source.name}:${entry.name}`;
    let start = new Uint8Array(0);
    for await (const chunk of this.archive.chunks(entry, false)) {
      start = await concatenateStart(start, chunk);
      if (start.length >= NPY_PROBE_BYTES) break;
    }
    const header = parseNpyHeader(start.subarray(0, NPY_PROBE_BYTES), where);
    if (header.dataOffset + header.dataBytes !== entry.size)
      throw new FormatError(
        where,
        `its shape [${header.shape}] needs ${header.dataOffset + header.dataBytes} bytes, it has ${entry.size}.`,
      );
    return header;
  }

  /**
   * Reads one array.
   * @param mostBytes what the caller expects at most: a small file may hold an array of gigabytes, compressed (default 256 MiB)
   * @throws FormatError if the array is larger, before it is inflated
   */
  async read(name: string, mostBytes: number = DEFAULT_ARRAY_BYTES): Promise<HostTensor> {
    const header = await this.info(name);
    if (header.dataBytes > mostBytes)
      throw new FormatError(
        `${this.archive.source.name}:${name}`,
        `the array [${header.shape}] has ${header.dataBytes} bytes, more than the ${mostBytes} that are expected here.`,
      );
    return npyTensor(header, (await this.archive.read(this.entry(name))).subarray(header.dataOffset));
  }

  /**
   * An array in parts of `count` rows of its first axis, the last one shorter: `[count, ...]` each.
   * @throws FormatError for arrays in Fortran order, whose rows are not contiguous
   */
  async *rows(name: string, count: number): AsyncGenerator<HostTensor> {
    if (!Number.isSafeInteger(count) || count < 1) throw new ArgumentError('Npz.rows: count', 'a positive integer', count);
    const header = await this.info(name);
    const { dtype, shape, fortranOrder, dataOffset, dataBytes } = header;
    if (shape.length === 0 || (fortranOrder && shape.length > 1))
      throw new FormatError(`${this.archive.source.name}:${name}`, 'it cannot be read by rows: it is in Fortran order, or a scalar.');
    if (dataBytes === 0) return;
    const rowBytes = dataBytes / shape[0];
    const emit = (bytes: Uint8Array): HostTensor => ({
      dtype,
      shape: [bytes.length / rowBytes, ...shape.slice(1)],
      data: decodeNpyData(header, bytes),
    });
    let part = new Uint8Array(Math.min(count * rowBytes, dataBytes));
    let filled = 0;
    let skip = dataOffset;
    let left = dataBytes;
    for await (const chunk of this.archive.chunks(this.entry(name))) {
      let at = Math.min(skip, chunk.length);
      skip -= at;
      while (at < chunk.length) {
        const step = Math.min(chunk.length - at, part.length - filled);
        part.set(chunk.subarray(at, at + step), filled);
        at += step;
        filled += step;
        left -= step;
        if (filled < part.length) break;
        yield emit(part);
        part = new Uint8Array(Math.min(part.length, left));
        filled = 0;
      }
    }
  }

  private entry(name: string): ZipEntry {
    return this.archive.entry(`${name}.npy`);
  }
}

async function concatenateStart(a: Uint8Array, b: Uint8Array): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await concatenate([a, b.subarray(0, NPY_PROBE_BYTES)]));
}

/** An array to write, whose bytes (little-endian, the usual order) are made when their turn comes. */
export interface NpzArray {
  name: string;
  dtype: SafetensorsDtype;
  shape: readonly number[];
  chunks(): AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
}

/** How arrays are packed. */
export interface NpzOptions {
  /** Whether to deflate the arrays, as `numpy.savez_compressed` does; default false, as images and weights hardly shrink. */
  compress?: boolean;
}

/**
 * The bytes of an .npz file, in order.
 * @throws FormatError if an array's chunks do not fit its shape
 */
export function npzChunks(arrays: readonly NpzArray[], { compress = false }: NpzOptions = {}): AsyncGenerator<Uint8Array> {
  return zipChunks(
    arrays.map(({ name, dtype, shape, chunks }) => {
      const header = encodeNpyHeader(dtype, shape);
      return {
        name: `${name}.npy`,
        size: header.length + shape.reduce((product, n) => product * n, 1) * safetensorsDtypes[dtype],
        deflate: compress,
        async *chunks() {
          yield header;
          yield* chunks();
        },
      };
    }),
  );
}

/** A whole .npz file in memory. */
export async function encodeNpz(tensors: ReadonlyMap<string, HostTensor>, options: NpzOptions = {}): Promise<Uint8Array> {
  const arrays = [...tensors].map(([name, { dtype, shape, data }]) => ({ name, dtype, shape, chunks: () => [encodeTensor(data, dtype)] }));
  return concatenate(npzChunks(arrays, options));
}
