/**
 * Where the members of a tar file lie, so that they can be read in any order. A streaming library cannot give that.
 *
 * Reads ustar, GNU (long names, base-256 sizes) and pax archives, uncompressed.
 */
import { FormatError } from '@dit-moe/tensor-ops/io';
import type { FileSource } from '@dit-moe/tensor-ops/io/node';

/** A regular file in an archive. */
export interface TarMember {
  name: string;
  /** First byte in the archive. */
  offset: number;
  size: number;
}

const BLOCK = 512;
/** Longest name or pax record that is believed. */
const MAX_EXTENSION_BYTES = 2 ** 20;
/** Read at once: many members of a few bytes lie in one piece, large ones are jumped over. */
const WINDOW_BYTES = 2 ** 16;

/**
 * Members in the archive's order.
 * @throws FormatError if it is truncated, compressed or no tar file
 */
export async function* tarMembers(file: FileSource): AsyncGenerator<TarMember> {
  let window: { start: number; bytes: Uint8Array } = { start: 0, bytes: new Uint8Array(0) };
  const read = async (position: number, length: number): Promise<Uint8Array> => {
    if (position + length > file.size)
      throw new FormatError(file.name, `it is truncated: byte ${position + length} of ${file.size} is needed.`);
    if (position < window.start || position + length > window.start + window.bytes.length) {
      const wanted = Math.max(length, Math.min(WINDOW_BYTES, file.size - position));
      window = { start: position, bytes: await file.read(position, wanted) };
    }
    return window.bytes.subarray(position - window.start, position - window.start + length);
  };
  let next: { name?: string; size?: number } = {};
  for (let position = 0; position < file.size; ) {
    const header = Uint8Array.from(await read(position, BLOCK));
    if (header.every((byte) => byte === 0)) return;
    const checksum = Number.parseInt(text(header, 148, 8), 8);
    if (header.reduce((sum, byte, i) => sum + (i >= 148 && i < 156 ? 0x20 : byte), 0) !== checksum)
      throw new FormatError(file.name, `no tar header at byte ${position}: damaged, compressed (unpack it first), or no tar file.`);
    const type = String.fromCharCode(header[156]);
    const size = next.size ?? number(header, 124, 12);
    const offset = position + BLOCK;
    if (!Number.isSafeInteger(size) || size < 0 || offset + size > file.size)
      throw new FormatError(file.name, `it is truncated: the member at byte ${position} claims ${size} bytes.`);
    position = offset + BLOCK * Math.ceil(size / BLOCK);
    if ('LKxg'.includes(type) && type !== '') {
      if (size > MAX_EXTENSION_BYTES) throw new FormatError(file.name, `a name of ${size} bytes at byte ${offset}.`);
      const content = Buffer.from(await read(offset, size));
      if (type === 'L') next.name = content.toString('utf8').replace(/\0.*$/s, '');
      else if (type === 'x') next = { ...next, ...paxRecords(content) };
      continue;
    }
    if (type === '0' || type === '\0' || type === '7') {
      const prefix = text(header, 257, 5) === 'ustar' && header[263] === 0x30 ? text(header, 345, 155) : '';
      yield { name: next.name ?? (prefix === '' ? '' : `${prefix}/`) + text(header, 0, 100), offset, size };
    }
    next = {};
  }
}

const text = (header: Uint8Array, from: number, length: number): string =>
  Buffer.from(header.subarray(from, from + length))
    .toString('utf8')
    .replace(/\0.*$/s, '')
    .trim();

function number(header: Uint8Array, from: number, length: number): number {
  // GNU tar writes large numbers in base 256, marked by the highest bit.
  if (header[from] & 0x80) return header.subarray(from + 1, from + length).reduce((value, byte) => value * 256 + byte, 0);
  return Number.parseInt(text(header, from, length) || '0', 8);
}

/** `path` and `size` of pax records: `<length> <key>=<value>\n`. */
function paxRecords(content: Buffer): { name?: string; size?: number } {
  const found: { name?: string; size?: number } = {};
  for (let at = 0; at < content.length; ) {
    const space = content.indexOf(0x20, at);
    const length = Number.parseInt(content.toString('latin1', at, space), 10);
    if (space < 0 || !(length > 0)) break;
    const record = content.toString('utf8', space + 1, at + length - 1);
    const equals = record.indexOf('=');
    if (record.startsWith('path=')) found.name = record.slice(equals + 1);
    if (record.startsWith('size=')) found.size = Number(record.slice(equals + 1));
    at += length;
  }
  return found;
}
