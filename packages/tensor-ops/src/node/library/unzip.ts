/** Extracting single members of a zip file as streams, so that a 270 MB wheel with an 800 MB library needs no memory to speak of. */
import fs from 'node:fs';
import { pipeline } from 'node:stream/promises';
import zlib from 'node:zlib';
import { LibraryError } from './library-error.js';

interface Member {
  method: number;
  compressedSize: number;
  size: number;
  headerOffset: number;
}

const END_OF_DIRECTORY = 0x06054b50;
const END_OF_DIRECTORY_BYTES = 22;
const DIRECTORY_ENTRY = 0x02014b50;
const LOCAL_HEADER = 0x04034b50;
const LOCAL_HEADER_BYTES = 30;
const MAX_COMMENT = 0xffff;

/**
 * Writes `members` (names, or what matches) of the zip file `archive` to the paths that `target` gives.
 * @throws LibraryError `E_LIBRARY_DAMAGED` if the file is no zip, or a member is missing or has another size than announced
 */
export async function extractMembers(
  archive: string,
  members: readonly string[] | RegExp,
  target: (member: string) => string,
): Promise<void> {
  const file = await fs.promises.open(archive, 'r');
  try {
    const directory = await readDirectory(file, archive);
    const names = members instanceof RegExp ? [...directory.keys()].filter((name) => members.test(name)) : members;
    if (names.length === 0) throw new LibraryError('E_LIBRARY_DAMAGED', `${archive} has none of the members expected.`);
    for (const name of names) {
      const member = directory.get(name);
      if (member === undefined) throw new LibraryError('E_LIBRARY_DAMAGED', `${archive} has no member ${name}.`);
      const header = await readExactly(file, member.headerOffset, LOCAL_HEADER_BYTES, archive);
      if (header.readUInt32LE(0) !== LOCAL_HEADER)
        throw new LibraryError('E_LIBRARY_DAMAGED', `${archive} is damaged at the member ${name}.`);
      const start = member.headerOffset + LOCAL_HEADER_BYTES + header.readUInt16LE(26) + header.readUInt16LE(28);
      const source = fs.createReadStream(archive, { start, end: start + member.compressedSize - 1, highWaterMark: 1 << 20 });
      const output = fs.createWriteStream(target(name), { flush: true });
      try {
        if (member.method === 0) await pipeline(source, output);
        else await pipeline(source, zlib.createInflateRaw({ chunkSize: 1 << 20 }), output);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code?.startsWith('Z_') !== true) throw error;
        throw new LibraryError('E_LIBRARY_DAMAGED', `${archive} is damaged in the member ${name}.`, { cause: error });
      }
      if (output.bytesWritten !== member.size)
        throw new LibraryError('E_LIBRARY_DAMAGED', `${archive}: ${name} has ${output.bytesWritten} bytes, not ${member.size}.`);
    }
  } finally {
    await file.close();
  }
}

async function readDirectory(file: fs.promises.FileHandle, archive: string): Promise<Map<string, Member>> {
  const { size } = await file.stat();
  const tail = await readExactly(
    file,
    Math.max(0, size - END_OF_DIRECTORY_BYTES - MAX_COMMENT),
    Math.min(size, END_OF_DIRECTORY_BYTES + MAX_COMMENT),
    archive,
  );
  let end = tail.length - END_OF_DIRECTORY_BYTES;
  while (end >= 0 && tail.readUInt32LE(end) !== END_OF_DIRECTORY) end--;
  if (end < 0) throw new LibraryError('E_LIBRARY_DAMAGED', `${archive} is not a complete zip file.`);
  const entries = tail.readUInt16LE(end + 10);
  const bytes = await readExactly(file, tail.readUInt32LE(end + 16), tail.readUInt32LE(end + 12), archive);
  const members = new Map<string, Member>();
  let at = 0;
  for (let i = 0; i < entries; i++) {
    if (at + 46 > bytes.length || bytes.readUInt32LE(at) !== DIRECTORY_ENTRY)
      throw new LibraryError('E_LIBRARY_DAMAGED', `${archive} has a damaged directory.`);
    const nameLength = bytes.readUInt16LE(at + 28);
    members.set(bytes.toString('utf8', at + 46, at + 46 + nameLength), {
      method: bytes.readUInt16LE(at + 10),
      compressedSize: bytes.readUInt32LE(at + 20),
      size: bytes.readUInt32LE(at + 24),
      headerOffset: bytes.readUInt32LE(at + 42),
    });
    at += 46 + nameLength + bytes.readUInt16LE(at + 30) + bytes.readUInt16LE(at + 32);
  }
  return members;
}

async function readExactly(file: fs.promises.FileHandle, position: number, length: number, archive: string): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  const { bytesRead } = await file.read(buffer, 0, length, position);
  if (bytesRead !== length) throw new LibraryError('E_LIBRARY_DAMAGED', `${archive} ends before byte ${position + length}.`);
  return buffer;
}
