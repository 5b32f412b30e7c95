/**
 * Writing zip archives as a stream of chunks, members above 4 GiB included (zip64); the container of npz and PyTorch files.
 *
 * Checksums, and sizes of deflated members, follow each member (a "data descriptor"), so that no byte is needed twice.
 * Source: PKWARE's APPNOTE.TXT 6.3. Times are fixed (1980-01-01), so that equal contents give equal files.
 */
import { Deflate } from 'fflate';
import { crc32 } from './crc.js';
import { FormatError } from './safetensors.js';

/** A member to write. */
export interface ZipMember {
  name: string;
  /** Bytes that `chunks` gives together. */
  size: number;
  chunks(): AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
  /** Whether to compress it; default false. */
  deflate?: boolean;
  /** The member's bytes begin at a multiple of this; default 1. */
  alignment?: number;
}

/** From this size on, 64-bit fields are used; below the 32-bit limit, as deflating may lengthen a little. */
const ZIP64_FROM_BYTES = 0xff000000;
/** Sizes in a data descriptor; names in UTF-8. */
const FLAGS = 0x808;
const ZIP64_VERSION = 45;
const FIRST_OF_JANUARY_1980 = 0x21;
/** Extra field that PyTorch pads with. */
const PADDING_EXTRA = 0x4246;
const LOCAL_HEADER_BYTES = 30;

interface Written {
  name: Uint8Array;
  method: number;
  crc: number;
  compressedSize: number;
  size: number;
  offset: number;
  large: boolean;
}

/**
 * The archive's bytes, in order.
 * @throws FormatError if a member's chunks do not have its size together, or a name repeats
 */
export async function* zipChunks(members: Iterable<ZipMember>): AsyncGenerator<Uint8Array> {
  const written: Written[] = [];
  const names = new Set<string>();
  let position = 0;
  for (const { name: text, size, chunks, deflate = false, alignment = 1 } of members) {
    if (names.has(text)) throw new FormatError('zip', `two members are named "${text}".`);
    names.add(text);
    const name = new TextEncoder().encode(text);
    const member: Written = {
      name,
      method: deflate ? 8 : 0,
      crc: 0,
      compressedSize: 0,
      size: 0,
      offset: position,
      large: size >= ZIP64_FROM_BYTES,
    };
    const header = localHeader(member, alignment);
    position += header.length;
    yield header;
    const counted = async function* () {
      for await (const chunk of chunks()) {
        member.size += chunk.length;
        member.crc = crc32(chunk, member.crc);
        yield chunk;
      }
    };
    for await (const chunk of deflate ? deflated(counted()) : counted()) {
      member.compressedSize += chunk.length;
      position += chunk.length;
      yield chunk;
    }
    if (member.size !== size) throw new FormatError(text, `it should have ${size} bytes, but has ${member.size}.`);
    const descriptor = fields([
      [4, 0x08074b50],
      [4, member.crc],
      [member.large ? 8 : 4, member.compressedSize],
      [member.large ? 8 : 4, member.size],
    ]);
    position += descriptor.length;
    yield descriptor;
    written.push(member);
  }
  yield* directory(written, position);
}

async function* deflated(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const ready: Uint8Array[] = [];
  const deflate = new Deflate((chunk) => ready.push(chunk));
  for await (const chunk of chunks) {
    deflate.push(chunk);
    yield* ready.splice(0);
  }
  deflate.push(new Uint8Array(0), true);
  yield* ready;
}

function localHeader(member: Written, alignment: number): Uint8Array {
  const zip64 = member.large
    ? fields([
        [2, 1],
        [2, 16],
        [8, 0],
        [8, 0],
      ])
    : new Uint8Array(0);
  const unpadded = member.offset + LOCAL_HEADER_BYTES + member.name.length + zip64.length + 4;
  const padding = alignment > 1 ? new Uint8Array(4 + ((alignment - (unpadded % alignment)) % alignment)) : new Uint8Array(0);
  if (padding.length > 0)
    padding.set(
      fields([
        [2, PADDING_EXTRA],
        [2, padding.length - 4],
      ]),
    );
  const fixed = fields([
    [4, 0x04034b50],
    [2, ZIP64_VERSION],
    [2, FLAGS],
    [2, member.method],
    [2, 0],
    [2, FIRST_OF_JANUARY_1980],
    [4, 0],
    [4, member.large ? 0xffffffff : 0],
    [4, member.large ? 0xffffffff : 0],
    [2, member.name.length],
    [2, zip64.length + padding.length],
  ]);
  return joined([fixed, member.name, zip64, padding]);
}

function* directory(written: readonly Written[], start: number): Generator<Uint8Array> {
  let size = 0;
  for (const { name, method, crc, compressedSize, size: memberSize, offset, large } of written) {
    const far = offset >= 0xffffffff;
    const zip64 = fields([
      ...(large
        ? ([
            [8, memberSize],
            [8, compressedSize],
          ] as Field[])
        : []),
      ...(far ? ([[8, offset]] as Field[]) : []),
    ]);
    const extra =
      zip64.length > 0
        ? joined([
            fields([
              [2, 1],
              [2, zip64.length],
            ]),
            zip64,
          ])
        : zip64;
    const fixed = fields([
      [4, 0x02014b50],
      [2, ZIP64_VERSION],
      [2, ZIP64_VERSION],
      [2, FLAGS],
      [2, method],
      [2, 0],
      [2, FIRST_OF_JANUARY_1980],
      [4, crc],
      [4, large ? 0xffffffff : compressedSize],
      [4, large ? 0xffffffff : memberSize],
      [2, name.length],
      [2, extra.length],
      [2, 0],
      [2, 0],
      [2, 0],
      [4, 0],
      [4, far ? 0xffffffff : offset],
    ]);
    const entry = joined([fixed, name, extra]);
    size += entry.length;
    yield entry;
  }
  const count = written.length;
  const large = count >= 0xffff || start >= 0xffffffff || size >= 0xffffffff;
  if (large) {
    const version: Field[] = [
      [2, ZIP64_VERSION],
      [2, ZIP64_VERSION],
    ];
    yield fields([[4, 0x06064b50], [8, 44], ...version, [4, 0], [4, 0], [8, count], [8, count], [8, size], [8, start]]);
    yield fields([
      [4, 0x07064b50],
      [4, 0],
      [8, start + size],
      [4, 1],
    ]);
  }
  const shortCount = large ? 0xffff : count;
  const ends: Field[] = [
    [4, large ? 0xffffffff : size],
    [4, large ? 0xffffffff : start],
    [2, 0],
  ];
  yield fields([[4, 0x06054b50], [2, 0], [2, 0], [2, shortCount], [2, shortCount], ...ends]);
}

/** Width in bytes and value. */
type Field = [width: 2 | 4 | 8, value: number];

/** Little-endian numbers one after another. */
function fields(list: readonly Field[]): Uint8Array {
  const bytes = new Uint8Array(list.reduce((sum, [width]) => sum + width, 0));
  const data = new DataView(bytes.buffer);
  let at = 0;
  for (const [width, value] of list) {
    if (width === 2) data.setUint16(at, value, true);
    else if (width === 4) data.setUint32(at, value, true);
    else data.setBigUint64(at, BigInt(value), true);
    at += width;
  }
  return bytes;
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
