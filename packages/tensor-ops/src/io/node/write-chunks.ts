/** Files that come as chunks: npz and PyTorch's, written whole or not at all. */
import type { FileHandle } from 'node:fs/promises';
import { type NpzArray, type NpzOptions, npzChunks } from '../npz.js';
import { type TorchWritable, torchChunks } from '../torch-writer.js';
import { writeAtomically } from './atomic.js';
import { CHUNK_BYTES } from './file-source.js';

/** Small chunks are gathered to this before they are written. */
const BUFFER_BYTES = 2 ** 20;

/**
 * Writes an .npz file, one chunk at a time in memory.
 * @throws FormatError if an array's chunks do not fit its shape; an older file is then kept
 */
export function writeNpz(path: string, arrays: readonly NpzArray[], options: NpzOptions = {}): Promise<void> {
  return writeChunks(path, npzChunks(arrays, options));
}

/**
 * Writes a .pt file that `torch.load(path, weights_only=True)` opens, one tensor at a time in memory.
 * @throws FormatError if a tensor's bytes do not fit its shape; an older file is then kept
 */
export function writeTorch(path: string, value: TorchWritable): Promise<void> {
  return writeChunks(path, torchChunks(value));
}

async function writeChunks(path: string, chunks: AsyncIterable<Uint8Array>): Promise<void> {
  await writeAtomically(path, async (file) => {
    let waiting: Uint8Array[] = [];
    let length = 0;
    for await (const chunk of chunks) {
      waiting.push(chunk);
      length += chunk.length;
      if (length >= BUFFER_BYTES) {
        await append(file, waiting);
        [waiting, length] = [[], 0];
      }
    }
    await append(file, waiting);
  });
}

async function append(file: FileHandle, chunks: readonly Uint8Array[]): Promise<void> {
  const whole = chunks.length === 1 ? chunks[0] : Buffer.concat(chunks);
  for (let done = 0; done < whole.length; done += CHUNK_BYTES) await file.appendFile(whole.subarray(done, done + CHUNK_BYTES));
}
