import fs from 'node:fs';

const HEADER_BYTES = 64;
/** Node's name of the processor by the ELF header's number. */
const machines: Readonly<Record<number, string>> = { 62: 'x64', 183: 'arm64' };

/**
 * What is wrong with a Linux shared library that can be seen without loading it, or `undefined`. The loader maps a cut file all
 * the same, and the process dies with SIGBUS at the first page that is missing.
 */
export function elfProblem(file: string): string | undefined {
  const descriptor = fs.openSync(file, 'r');
  try {
    const header = Buffer.alloc(HEADER_BYTES);
    const { size } = fs.fstatSync(descriptor);
    if (fs.readSync(descriptor, header, 0, HEADER_BYTES, 0) < HEADER_BYTES || header.toString('latin1', 0, 4) !== '\x7fELF')
      return 'it is no shared library';
    const machine = machines[header.readUInt16LE(0x12)] ?? 'another processor';
    if (machine !== process.arch) return `it is for ${machine}, and this machine is ${process.arch}`;
    // The section table comes last: offset, entry size, entries (64-bit little endian, as every machine that TensorFlow ships for).
    const end = Number(header.readBigUInt64LE(0x28)) + header.readUInt16LE(0x3a) * header.readUInt16LE(0x3c);
    return size < end ? `it is cut off: ${size} of ${end} bytes` : undefined;
  } finally {
    fs.closeSync(descriptor);
  }
}
