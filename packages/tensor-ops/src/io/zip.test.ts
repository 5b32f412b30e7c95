import { describe, expect, test } from 'vitest';
import { concatenate, memorySource } from './byte-source.js';
import { crc32 } from './crc.js';
import { ZipArchive } from './zip-reader.js';
import { type ZipMember, zipChunks } from './zip-writer.js';

const text = new TextEncoder();
const repeated = text.encode('twelve bytes'.repeat(20_000));
const members: ZipMember[] = [
  { name: 'a/stored', size: repeated.length, chunks: () => [repeated.subarray(0, 1000), repeated.subarray(1000)] },
  { name: 'a/déflated', size: repeated.length, chunks: () => [repeated], deflate: true },
  { name: 'aligned', size: 3, chunks: () => [Uint8Array.of(1, 2, 3)], alignment: 64 },
  { name: 'empty', size: 0, chunks: () => [] },
];
const archive = await concatenate(zipChunks(members));
const open = (bytes: Uint8Array) => ZipArchive.open(memorySource(bytes, 'test.zip'));
const at = (bytes: Uint8Array, signature: number, from = 0) => {
  const data = new DataView(bytes.buffer, bytes.byteOffset);
  for (let i = from; i + 4 <= bytes.length; i++) if (data.getUint32(i, true) === signature) return i;
  throw new Error('no such signature');
};
const directory = at(archive, 0x02014b50);

describe('zip', () => {
  test('the checksum is CRC-32, also in parts', () => {
    expect(crc32(text.encode('123456789'))).toBe(0xcbf43926);
    expect(crc32(text.encode('456789'), crc32(text.encode('123')))).toBe(0xcbf43926);
  });

  test('members come back, stored, deflated, aligned and empty', async () => {
    const zip = await open(archive);
    expect([...zip.entries.keys()]).toEqual(members.map(({ name }) => name));
    expect(await zip.read(zip.entry('a/stored'))).toEqual(repeated);
    expect(await zip.read(zip.entry('a/déflated'))).toEqual(repeated);
    expect(zip.entry('a/déflated').compressedSize).toBeLessThan(repeated.length / 50);
    expect(await zip.range(zip.entry('a/stored'), 12, 24)).toEqual(text.encode('twelve bytes'));
    expect(await zip.range(zip.entry('a/déflated'), 12, 24)).toEqual(text.encode('twelve bytes'));
    expect(await zip.read(zip.entry('empty'))).toEqual(new Uint8Array(0));
    expect(
      archive.subarray(0, 1_000_000).findIndex((_, i) => i % 64 === 0 && archive[i] === 1 && archive[i + 1] === 2 && archive[i + 2] === 3),
    ).toBeGreaterThan(0);
    await expect(zip.range(zip.entry('aligned'), 2, 4)).rejects.toThrow(/outside/);
  });

  test('equal contents give equal archives', async () => {
    expect(await concatenate(zipChunks(members))).toEqual(archive);
  });

  test('sizes and places are also read from zip64 fields', async () => {
    const plain = await concatenate(zipChunks([{ name: 'x', size: 5, chunks: () => [text.encode('hello')] }]));
    const start = at(plain, 0x02014b50);
    const entry = plain.slice(start, start + 47);
    const fields = new DataView(entry.buffer);
    for (const offset of [20, 24, 42]) fields.setUint32(offset, 0xffffffff, true);
    fields.setUint16(30, 28, true);
    const tail = new DataView(new ArrayBuffer(28 + 56 + 20 + 22));
    tail.setUint16(0, 1, true);
    tail.setUint16(2, 24, true);
    tail.setBigUint64(4, 5n, true);
    tail.setBigUint64(12, 5n, true);
    tail.setUint32(28, 0x06064b50, true);
    tail.setBigUint64(28 + 32, 1n, true);
    tail.setBigUint64(28 + 40, 75n, true);
    tail.setBigUint64(28 + 48, BigInt(start), true);
    tail.setUint32(84, 0x07064b50, true);
    tail.setBigUint64(92, BigInt(start + 75), true);
    tail.setUint32(104, 0x06054b50, true);
    for (const offset of [112, 114]) tail.setUint16(offset, 0xffff, true);
    for (const offset of [116, 120]) tail.setUint32(offset, 0xffffffff, true);
    const zip = await open(await concatenate([plain.subarray(0, start), entry, new Uint8Array(tail.buffer)]));
    expect(await zip.read(zip.entry('x'))).toEqual(text.encode('hello'));
    tail.setUint32(8, 1, true); // 2^32 + 5 bytes
    const lying = await concatenate([plain.subarray(0, start), entry, new Uint8Array(tail.buffer)]);
    await expect(open(lying)).rejects.toThrow(/claims 4294967301 bytes/);
  });

  test.each<[string, (bytes: Uint8Array) => Uint8Array, RegExp]>([
    ['is empty', () => new Uint8Array(0), /no zip directory/],
    ['is cut', (b) => b.subarray(0, b.length - 1), /no zip directory/],
    ['lost its beginning', (b) => b.subarray(100), /damaged|outside|overlap|reaches/],
    ['is encrypted', (b) => b.with(directory + 8, 9), /encrypted/],
    ['has an unknown method', (b) => b.with(directory + 10, 14), /method 14/],
    ['claims an impossible size', (b) => b.with(directory + 27, 0x7f), /impossible/],
    ['has a place beyond the directory', (b) => b.with(directory + 45, 0x7f), /reaches into the directory/],
    ['has more entries than it says', (b) => b.with(b.length - 12, 3), /after its 3 entries/],
  ])('an archive that %s is refused', async (_, damage, message) => {
    await expect(open(damage(archive))).rejects.toThrow(message);
  });

  test('damage within a member is found when it is read', async () => {
    const stored = await open(archive.with(500, 0));
    await expect(stored.read(stored.entry('a/stored'))).rejects.toThrow(/checksum/);
    const deflated = await open(archive.with(at(archive, 0x04034b50, 1000) + 45, 0xff));
    await expect(deflated.read(deflated.entry('a/déflated'))).rejects.toThrow(/damaged|claims/);
  });

  test('overlapping members, repeated names and wrong sizes are refused', async () => {
    const second = at(archive, 0x02014b50, directory + 4);
    const overlapping = archive.slice();
    overlapping.copyWithin(second + 42, directory + 42, directory + 46);
    await expect(open(overlapping)).rejects.toThrow(/overlap/);
    await expect(concatenate(zipChunks([members[2], members[2]]))).rejects.toThrow(/two members/);
    await expect(concatenate(zipChunks([{ ...members[2], size: 4 }]))).rejects.toThrow(/should have 4 bytes, but has 3/);
  });
});
