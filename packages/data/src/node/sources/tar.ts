/**
 * Where the members of a tar file lie, so that they can be read in any order. A streaming library cannot give that.
 *
 * Reads ustar, GNU (long names, base-256 sizes) and pax archives, uncompressed.
 */
import path from 'node:path';
import { FormatError } from '@dit-moe/tensor-ops/io';
import type { FileSource } from '@dit-moe/tensor-ops/io/node';

/** A file in an archive. */
export interface TarMember {
  name: string;
  /** First byte in the archive. */
  offset: number;
  size: number;
}

/** A member without content that can be read: a link to something that is not in the archive, a device, a sparse file. */
interface OtherMember {
  name: string;
  offset: undefined;
}

const BLOCK = 512;
/** Longest name or pax record that is believed. */
const MAX_EXTENSION_BYTES = 2 ** 20;
/** Read at once: many members of a few bytes lie in one piece, large ones are jumped over. */
const WINDOW_BYTES = 2 ** 16;

/**
 * Members in the archive's order, but folders; links to members before them are those.
 * @throws FormatError if it is empty, truncated, compressed or no tar file
 */
export async function* tarMembers(file: FileSource): AsyncGenerator<TarMember | OtherMember> {
  if (file.size === 0) throw new FormatError(file.name, 'it is empty: 0 bytes.');
  const members = new Map<string, TarMember>();
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
  let next: { name?: string; size?: number; link?: string } = {};
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
      else if (type === 'K') next.link = content.toString('utf8').replace(/\0.*$/s, '');
      else if (type === 'x') next = { ...next, ...paxRecords(content) };
      continue;
    }
    const prefix = text(header, 257, 5) === 'ustar' && header[263] === 0x30 ? text(header, 345, 155) : '';
    const name = plainName(next.name ?? (prefix === '' ? '' : `${prefix}/`) + text(header, 0, 100));
    const link = next.link ?? text(header, 157, 100);
    // 5 is a folder.
    if (type !== '5') {
      const target = type === '1' ? plainName(link) : type === '2' ? path.posix.join(path.posix.dirname(name), link) : undefined;
      const content = '0\x007'.includes(type) ? { offset, size } : members.get(target ?? '');
      const member = content === undefined ? undefined : { name, offset: content.offset, size: content.size };
      if (member !== undefined) members.set(name, member);
      yield member ?? { name, offset: undefined };
    }
    next = {};
  }
}

/** As from the root of the archive: `./a/0.png` and `/a/0.png` are `a/0.png`. */
const plainName = (name: string): string => name.replace(/^(\.?\/)+/, '');

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

/** `path`, `linkpath` and `size` of pax records: `<length> <key>=<value>\n`. */
function paxRecords(content: Buffer): { name?: string; size?: number; link?: string } {
  const found: { name?: string; size?: number; link?: string } = {};
  for (let at = 0; at < content.length; ) {
    const space = content.indexOf(0x20, at);
    const length = Number.parseInt(content.toString('latin1', at, space), 10);
    if (space < 0 || !(length > 0)) break;
    const record = content.toString('utf8', space + 1, at + length - 1);
    const equals = record.indexOf('=');
    if (record.startsWith('path=')) found.name = record.slice(equals + 1);
    if (record.startsWith('linkpath=')) found.link = record.slice(equals + 1);
    if (record.startsWith('size=')) found.size = Number(record.slice(equals + 1));
    at += length;
  }
  return found;
}
