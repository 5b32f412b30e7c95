/**
 * Reading zip archives, the container of npz and of PyTorch's files: stored and deflated members, zip64, ranges of stored
 * members, everything streamed.
 *
 * Archives are untrusted. Sizes come from the central directory, as both writers may leave them out of the local headers; a
 * member is refused if it overlaps another, repeats a name, is encrypted, or claims to grow more than deflate can.
 * Source: PKWARE's APPNOTE.TXT 6.3.
 */
import { Inflate } from 'fflate';
import { type ByteSource, concatenate } from './byte-source.js';
import { crc32 } from './crc.js';
import { FormatError } from './safetensors.js';

/** Longest central directory that is read: about a million members. */
const MAX_DIRECTORY_BYTES = 64 * 2 ** 20;
/** Deflate cannot compress more than this (one bit for 258 bytes, less the block's header), so a larger claim is a lie. */
const MAX_INFLATE_RATIO = 1032;
/** Longest deflated member that is inflated as a whole; longer ones must be read as a stream. */
const MAX_INFLATED_BYTES = 4 * 2 ** 30;

const END_RECORD = 0x06054b50;
const END_RECORD_BYTES = 22;
const END_RECORD_64 = 0x06064b50;
const END_RECORD_64_BYTES = 56;
const LOCATOR_64 = 0x07064b50;
const LOCATOR_64_BYTES = 20;
const DIRECTORY_ENTRY = 0x02014b50;
const DIRECTORY_ENTRY_BYTES = 46;
const LOCAL_HEADER = 0x04034b50;
const LOCAL_HEADER_BYTES = 30;
const MAX_COMMENT_BYTES = 0xffff;
const ZIP64_EXTRA = 1;
const STORED = 0;
const DEFLATED = 8;
const ENCRYPTED = 1;

/** Bytes read at once when streaming; for deflated members few, because each may become a thousand. */
const STORED_CHUNK_BYTES = 2 ** 20;
const DEFLATED_CHUNK_BYTES = 2 ** 15;

/** A member of an archive. */
export interface ZipEntry {
  readonly name: string;
  readonly deflated: boolean;
  readonly compressedSize: number;
  readonly size: number;
  readonly crc32: number;
  readonly headerOffset: number;
}

/** A zip archive whose directory has been read. */
export class ZipArchive {
  private constructor(
    readonly source: ByteSource,
    /** Members by name, in the directory's order. */
    readonly entries: ReadonlyMap<string, ZipEntry>,
    private readonly directoryOffset: number,
  ) {}

  /** @throws FormatError if the source is no zip archive, is truncated, or has a directory that contradicts itself */
  static async open(source: ByteSource): Promise<ZipArchive> {
    const { offset, size, count } = await findDirectory(source);
    const entries = parseDirectory(await source.read(offset, size), count, source.name);
    let end = 0;
    let last = '';
    for (const entry of [...entries.values()].sort((a, b) => a.headerOffset - b.headerOffset)) {
      if (entry.headerOffset < end) throw new FormatError(source.name, `its members "${last}" and "${entry.name}" overlap.`);
      end = entry.headerOffset + LOCAL_HEADER_BYTES + entry.compressedSize;
      last = entry.name;
    }
    if (end > offset) throw new FormatError(source.name, `its member "${last}" reaches into the directory.`);
    return new ZipArchive(source, entries, offset);
  }

  /** @throws FormatError if there is no such member */
  entry(name: string): ZipEntry {
    const entry = this.entries.get(name);
    if (entry === undefined) throw new FormatError(this.source.name, `it has no member "${name}".`);
    return entry;
  }

  /** Bytes `from` to `to` of a member. Of a stored one only these are read; a deflated one is inflated as a whole. */
  async range(entry: ZipEntry, from: number, to: number): Promise<Uint8Array> {
    if (from < 0 || to < from || to > entry.size)
      throw new FormatError(this.source.name, `bytes ${from} to ${to} lie outside of its member "${entry.name}".`);
    if (entry.deflated) return (await this.inflateWhole(entry, false)).slice(from, to);
    return this.source.read((await this.dataOffset(entry)) + from, to - from);
  }

  /**
   * A member as a whole.
   * @throws FormatError also if its checksum is wrong
   */
  async read(entry: ZipEntry): Promise<Uint8Array> {
    if (entry.deflated) return this.inflateWhole(entry, true);
    const bytes = await this.range(entry, 0, entry.size);
    this.checkSum(entry, crc32(bytes));
    return bytes;
  }

  /**
   * A member as a stream of chunks of at most some 32 MiB.
   * @param checked whether a wrong checksum is an error, at the end of the stream
   */
  async *chunks(entry: ZipEntry, checked = true): AsyncGenerator<Uint8Array> {
    let crc = 0;
    let size = 0;
    for await (const chunk of entry.deflated ? this.inflate(entry) : this.raw(entry, STORED_CHUNK_BYTES)) {
      size += chunk.length;
      if (size > entry.size) break;
      if (checked) crc = crc32(chunk, crc);
      yield chunk;
    }
    if (size !== entry.size)
      throw new FormatError(this.source.name, `its member "${entry.name}" does not have the ${entry.size} bytes that it claims.`);
    if (checked) this.checkSum(entry, crc);
  }

  private async inflateWhole(entry: ZipEntry, checked: boolean): Promise<Uint8Array> {
    if (entry.size > MAX_INFLATED_BYTES)
      throw new FormatError(
        this.source.name,
        `its member "${entry.name}" has ${entry.size} bytes when inflated, more than the limit of ${MAX_INFLATED_BYTES}: read it as a stream, or write it without compression.`,
      );
    return concatenate(this.chunks(entry, checked));
  }

  private async *inflate(entry: ZipEntry): AsyncGenerator<Uint8Array> {
    const ready: Uint8Array[] = [];
    const inflate = new Inflate((chunk) => ready.push(chunk));
    let rest = entry.compressedSize;
    for await (const chunk of this.raw(entry, DEFLATED_CHUNK_BYTES)) {
      rest -= chunk.length;
      try {
        inflate.push(chunk, rest === 0);
      } catch (cause) {
        throw new FormatError(this.source.name, `its member "${entry.name}" is damaged: ${(cause as Error).message}.`, { cause });
      }
      yield* ready.splice(0);
    }
  }

  private async *raw(entry: ZipEntry, chunkBytes: number): AsyncGenerator<Uint8Array> {
    const start = await this.dataOffset(entry);
    for (let at = 0; at < entry.compressedSize; at += chunkBytes)
      yield this.source.read(start + at, Math.min(chunkBytes, entry.compressedSize - at));
  }

  private async dataOffset(entry: ZipEntry): Promise<number> {
    const header = view(await this.source.read(entry.headerOffset, LOCAL_HEADER_BYTES));
    const start = entry.headerOffset + LOCAL_HEADER_BYTES + header.getUint16(26, true) + header.getUint16(28, true);
    if (header.getUint32(0, true) !== LOCAL_HEADER || start + entry.compressedSize > this.directoryOffset)
      throw new FormatError(this.source.name, `the header of its member "${entry.name}" (byte ${entry.headerOffset}) is damaged.`);
    return start;
  }

  private checkSum(entry: ZipEntry, crc: number): void {
    if (crc !== entry.crc32) throw new FormatError(this.source.name, `its member "${entry.name}" is damaged: the checksum is wrong.`);
  }
}

const view = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

async function findDirectory(source: ByteSource): Promise<{ offset: number; size: number; count: number }> {
  const tailOffset = Math.max(0, source.size - END_RECORD_BYTES - MAX_COMMENT_BYTES);
  const tail = view(await source.read(tailOffset, source.size - tailOffset));
  let at = tail.byteLength - END_RECORD_BYTES;
  while (at >= 0 && !(tail.getUint32(at, true) === END_RECORD && at + END_RECORD_BYTES + tail.getUint16(at + 20, true) === tail.byteLength))
    at--;
  if (at < 0)
    throw new FormatError(
      source.name,
      'it has no zip directory at its end: truncated, or not a zip archive. Fetch it again and compare its size.',
    );
  let directory = { count: tail.getUint16(at + 10, true), size: tail.getUint32(at + 12, true), offset: tail.getUint32(at + 16, true) };
  let end = tailOffset + at;
  const locator = at - LOCATOR_64_BYTES;
  if (locator >= 0 && tail.getUint32(locator, true) === LOCATOR_64) {
    end = safeNumber(tail.getBigUint64(locator + 8, true), source.name);
    const record = view(await source.read(end, END_RECORD_64_BYTES));
    if (record.getUint32(0, true) !== END_RECORD_64) throw new FormatError(source.name, 'its zip64 end record is damaged.');
    const [count, size, offset] = [32, 40, 48].map((field) => safeNumber(record.getBigUint64(field, true), source.name));
    directory = { count: count, size: size, offset: offset };
  }
  if (directory.size > MAX_DIRECTORY_BYTES)
    throw new FormatError(source.name, `its directory claims ${directory.size} bytes, more than the limit of ${MAX_DIRECTORY_BYTES}.`);
  if (directory.offset + directory.size > end) throw new FormatError(source.name, 'its directory lies outside of the file.');
  return directory;
}

function parseDirectory(bytes: Uint8Array, count: number, where: string): Map<string, ZipEntry> {
  const data = view(bytes);
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  const entries = new Map<string, ZipEntry>();
  let at = 0;
  for (let i = 0; i < count; i++) {
    if (at + DIRECTORY_ENTRY_BYTES > bytes.length || data.getUint32(at, true) !== DIRECTORY_ENTRY)
      throw new FormatError(where, `entry ${i} of its directory is damaged.`);
    const nameEnd = at + DIRECTORY_ENTRY_BYTES + data.getUint16(at + 28, true);
    const extraEnd = nameEnd + data.getUint16(at + 30, true);
    const end = extraEnd + data.getUint16(at + 32, true);
    if (end > bytes.length) throw new FormatError(where, `entry ${i} of its directory is damaged.`);
    let name: string;
    try {
      name = decoder.decode(bytes.subarray(at + DIRECTORY_ENTRY_BYTES, nameEnd));
    } catch (cause) {
      throw new FormatError(where, `the name of entry ${i} of its directory is not UTF-8.`, { cause });
    }
    if (entries.has(name)) throw new FormatError(where, `it has two members named "${name}".`);
    const method = data.getUint16(at + 10, true);
    if ((method !== STORED && method !== DEFLATED) || data.getUint16(at + 8, true) & ENCRYPTED)
      throw new FormatError(where, `its member "${name}" is encrypted or uses compression method ${method}; known are 0 and 8.`);
    const sizes = {
      size: data.getUint32(at + 24, true),
      compressedSize: data.getUint32(at + 20, true),
      headerOffset: data.getUint32(at + 42, true),
    };
    readZip64(data, nameEnd, extraEnd, sizes, where);
    const entry = { name, deflated: method === DEFLATED, crc32: data.getUint32(at + 16, true), ...sizes };
    if (entry.deflated ? entry.size > entry.compressedSize * MAX_INFLATE_RATIO : entry.size !== entry.compressedSize)
      throw new FormatError(where, `its member "${name}" claims ${entry.size} bytes, impossible for the ${entry.compressedSize} stored.`);
    entries.set(name, entry);
    at = end;
  }
  if (at !== bytes.length) throw new FormatError(where, `its directory has ${bytes.length - at} bytes after its ${count} entries.`);
  return entries;
}

/** Replaces fields that are all ones by those of the zip64 extra field, which holds only these, in this order. */
function readZip64(
  data: DataView,
  from: number,
  to: number,
  sizes: { size: number; compressedSize: number; headerOffset: number },
  where: string,
): void {
  for (let at = from; at + 4 <= to; ) {
    const end = at + 4 + data.getUint16(at + 2, true);
    if (data.getUint16(at, true) === ZIP64_EXTRA) {
      let field = at + 4;
      for (const key of ['size', 'compressedSize', 'headerOffset'] as const)
        if (sizes[key] === 0xffffffff && field + 8 <= Math.min(end, to)) {
          sizes[key] = safeNumber(data.getBigUint64(field, true), where);
          field += 8;
        }
    }
    at = end;
  }
}

function safeNumber(value: bigint, where: string): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new FormatError(where, `its directory holds the impossible size ${value}.`);
  return Number(value);
}
