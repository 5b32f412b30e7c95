/**
 * Files of a state that no process could hold whole: every rank writes some of the tensors, each whole, as they are put together. Readers
 * find them by an index, as in the sharded files of the Hugging Face libraries, and need not know how many ranks wrote them.
 */
import path from 'node:path';
import { shardName, type WrittenFile, writeSafetensors, writeShardIndex } from '@dit-moe/tensor-ops/io/node';
import * as tf from '@tensorflow/tfjs-core';
import type { StateFile } from './state-file.js';

const BYTES_PER_NUMBER = 4;

/** Bytes of the tensors of a file. */
export const bytesOf = (file: Pick<StateFile, 'names' | 'shapeOf'>): number =>
  file.names.reduce((sum, name) => sum + sizeOf(file, name), 0);

const sizeOf = (file: Pick<StateFile, 'shapeOf'>, name: string): number =>
  BYTES_PER_NUMBER * tf.util.sizeFromShape([...file.shapeOf(name)]);

/** What is written of a state: the file, by which name, and what it says of itself. */
export interface ShardedFile {
  name: string;
  file: Pick<StateFile, 'names' | 'order' | 'ranks' | 'shapeOf' | 'read'>;
  metadata: Readonly<Record<string, string>>;
}

/** Names of the tensors that each rank writes: of about equal size, and in turns, so that all write at the same time. */
export function sharesOf(file: ShardedFile['file']): string[][] {
  const shares = Array.from({ length: file.ranks }, () => ({ bytes: 0, names: [] as string[] }));
  for (const name of file.order) {
    const least = shares.reduce((a, b) => (b.bytes < a.bytes ? b : a));
    least.names.push(name);
    least.bytes += sizeOf(file, name);
  }
  return shares.map(({ names }) => names).filter((names) => names.length > 0);
}

const nameOf = (name: string, share: number, shares: number): string =>
  shares === 1 ? `${name}.safetensors` : shardName(name, share, shares);

/**
 * Writes this rank's shard, one tensor at a time while the next is put together; every rank calls this.
 * @returns what was written, by name of the file; nothing if this rank has no share
 */
export async function writeShard(
  folder: string,
  { name, file, metadata }: ShardedFile,
  rank: number,
): Promise<Record<string, WrittenFile>> {
  const shares = sharesOf(file);
  const own = shares[rank] ?? [];
  const values = ahead(valuesOf(file, new Set(own)));
  const tensors = own.map((tensor) => ({
    name: tensor,
    dtype: 'F32' as const,
    shape: file.shapeOf(tensor),
    bytes: async () => (await values.next()).value as Uint8Array,
  }));
  const shard = nameOf(name, rank, shares.length);
  try {
    return own.length === 0 ? {} : { [shard]: await writeSafetensors(path.join(folder, shard), tensors, metadata) };
  } finally {
    // The others need this rank for their tensors, also when it cannot write its own.
    for await (const _ of values);
  }
}

/** Writes the index of the shards, where there are several. */
export async function writeIndex(folder: string, { name, file }: ShardedFile): Promise<Record<string, WrittenFile>> {
  const shares = sharesOf(file);
  if (shares.length === 1) return {};
  const shardOf = new Map(shares.flatMap((names, rank) => names.map((tensor) => [tensor, nameOf(name, rank, shares.length)] as const)));
  const weightMap = Object.fromEntries(file.names.map((tensor) => [tensor, shardOf.get(tensor)!]));
  const { path: index, ...written } = await writeShardIndex(folder, name, weightMap, bytesOf(file));
  return { [path.basename(index)]: written };
}

/** Bytes of some tensors of a file, which is read to its end. */
async function* valuesOf(file: ShardedFile['file'], names: ReadonlySet<string>): AsyncGenerator<Uint8Array> {
  for await (const [name, tensor] of file.read()) {
    if (!names.has(name)) continue;
    const { buffer, byteOffset, byteLength } = await tensor.data();
    yield new Uint8Array(buffer, byteOffset, byteLength);
  }
}

/** The same values, the next of which is made while one is used. */
async function* ahead<T>(values: AsyncGenerator<T>): AsyncGenerator<T> {
  const begin = () => {
    const next = values.next();
    // Who asks for the value hears of its error.
    next.catch(() => {});
    return next;
  };
  for (let next = begin(); ; ) {
    const { done, value } = await next;
    if (done === true) return;
    next = begin();
    yield value;
  }
}
