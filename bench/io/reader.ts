/** Reads a file of tensors once. */
import fs from 'node:fs';
import { SafetensorsFile } from '@dit-moe/tensor-ops/io/node';
import { ownPeak } from '../harness/own-peak.js';
import { answer, inOwnProcess } from '../harness/own-process.js';

/**
 * `load`: every tensor, all kept. `stream`: one tensor after another in the same memory. `raw-kept`, `raw-reused`: the system's reads
 * of the same bytes, into memory that is kept as by `load`, or in the same 4 MiB.
 */
export type Way = 'load' | 'stream' | 'raw-kept' | 'raw-reused';

export interface Reading {
  seconds: number;
  /** Peak of the process beyond what it had before it began. */
  mebibytes: number;
}

interface Request {
  file: string;
  way: Way;
}

export const readOnce = (request: Request): Promise<Reading> => inOwnProcess(import.meta.url, request);

const PIECE = 2 ** 22;

/** Reads the file from its start to its end, at most 4 MiB at a time. */
function readRaw(file: string, memory: (length: number) => Uint8Array): void {
  const descriptor = fs.openSync(file, 'r');
  const { size } = fs.fstatSync(descriptor);
  for (let at = 0; at < size; ) {
    const length = Math.min(PIECE, size - at);
    at += fs.readSync(descriptor, memory(length), 0, length, at);
  }
  fs.closeSync(descriptor);
}

const ways: Record<Way, (file: string) => Promise<unknown>> = {
  async load(path) {
    const file = await SafetensorsFile.open(path);
    const tensors = new Map<string, unknown>();
    for (const name of file.names) tensors.set(name, await file.read(name));
    await file.close();
    return tensors;
  },
  async stream(path) {
    const file = await SafetensorsFile.open(path);
    const largest = Math.max(...file.names.map((name) => file.info(name).end - file.info(name).begin));
    const memory = new Uint8Array(largest);
    for (const name of file.names) await file.read(name, memory);
    await file.close();
    return memory;
  },
  async 'raw-kept'(path) {
    const kept: Uint8Array[] = [];
    readRaw(path, (length) => kept[kept.push(new Uint8Array(length)) - 1]);
    return kept;
  },
  async 'raw-reused'(path) {
    const memory = new Uint8Array(PIECE);
    readRaw(path, () => memory);
    return memory;
  },
};

await answer<Request>(import.meta.url, async ({ file, way }) => {
  const before = ownPeak();
  const start = performance.now();
  const kept = await ways[way](file);
  const seconds = (performance.now() - start) / 1000;
  const reading: Reading = { seconds, mebibytes: ownPeak() - before };
  return { ...reading, kept: typeof kept };
});
