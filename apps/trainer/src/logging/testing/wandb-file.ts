/** For tests: reads what Weights & Biases keeps of a run, and checks every checksum. */
import fs from 'node:fs';
import { crc32, type ProtobufField, readFields } from '@dit-moe/tensor-ops/io';

/** @throws Error at a piece that is damaged */
export function readRecordLog(bytes: Buffer): Buffer[] {
  if (bytes.subarray(0, 7).toString('hex') !== '3a572642e1be00') throw new Error('not a file of Weights & Biases');
  const records: Buffer[] = [];
  const pieces: Buffer[] = [];
  for (let at = 7; at < bytes.length; ) {
    const rest = 32_768 - (at % 32_768);
    if (rest < 7) {
      if (bytes.subarray(at, at + rest).some((byte) => byte !== 0)) throw new Error(`byte ${at}: not padding`);
      at += rest;
      continue;
    }
    const [sum, length, kind] = [bytes.readUInt32LE(at), bytes.readUInt16LE(at + 4), bytes[at + 6]];
    const body = bytes.subarray(at + 7, at + 7 + length);
    if (length + 7 > rest || crc32(body, crc32(Uint8Array.of(kind))) !== sum) throw new Error(`byte ${at}: damaged`);
    if ((kind === 1 || kind === 2) !== (pieces.length === 0)) throw new Error(`byte ${at}: kind ${kind} out of turn`);
    pieces.push(body);
    if (kind === 1 || kind === 4) records.push(Buffer.concat(pieces.splice(0)));
    at += 7 + length;
  }
  if (pieces.length > 0) throw new Error('ends in a record');
  return records;
}

/** What the file of a run says, as far as it is written here. */
export function readWandbFile(file: string) {
  const read = { numbers: [] as number[], run: {} as Record<string, unknown>, history: [] as Record<string, unknown>[] };
  const [files, exits, kinds]: [string[], number[], number[]] = [[], [], []];
  for (const record of readRecordLog(fs.readFileSync(file))) {
    const textOf = ({ start, end }: ProtobufField): string => record.toString('utf8', start, end);
    const inner = (field: ProtobufField): ProtobufField[] => [...readFields(record, file, field)];
    /** Name and value of each item. */
    const items = (field: ProtobufField): [string, unknown][] =>
      inner(field)
        .filter((part) => part.field === 1)
        .map((part) => {
          const [name, value] = inner(part).map(textOf);
          return [name, ['NaN', 'Infinity', '-Infinity'].includes(value) ? Number(value) : JSON.parse(value)];
        });
    const [number, content] = readFields(record, file);
    read.numbers.push(number.value);
    kinds.push(content.field);
    if (content.field === 2) read.history.push(Object.fromEntries(items(content)));
    else if (content.field === 6) files.push(textOf(inner(inner(content)[0])[0]));
    else if (content.field === 18) exits.push(inner(content)[0].value);
    else if (content.field === 17)
      for (const part of inner(content)) {
        if (part.field === 4) read.run['config'] = Object.fromEntries(items(part));
        else if (part.field !== 17) read.run[{ 1: 'id', 2: 'entity', 3: 'project', 8: 'name', 13: 'host' }[part.field]!] = textOf(part);
      }
  }
  return { ...read, files, exits, kinds };
}
