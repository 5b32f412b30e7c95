/** Files that ranks write together, each a share of the tensors: no rank holds more than two of them at once. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { openCheckpoint } from '@dit-moe/tensor-ops/io/node';
import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs';
import { afterAll, expect, test } from 'vitest';
import { type ShardedFile, sharesOf, writeIndex, writeShard } from './shards.js';

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'shards-'));
afterAll(() => fs.rmSync(folder, { recursive: true }));

const lengths: Record<string, number> = { a: 9, b: 3, c: 3, d: 1, e: 2, f: 5 };
const value = (name: string): number => name.charCodeAt(0);

/** A file of `ranks` ranks as one of them sees it, which gives its tensors in another order than that of the names. */
function fileOf(ranks: number) {
  const names = Object.keys(lengths);
  const seen: string[] = [];
  const order = [...names].reverse();
  const file: ShardedFile['file'] = {
    ...{ names, order, ranks },
    shapeOf: (name) => [lengths[name]],
    async *read() {
      for (const name of order) {
        seen.push(name);
        const tensor = tf.fill([lengths[name]], value(name));
        try {
          yield [name, tensor];
        } finally {
          tensor.dispose();
        }
      }
    },
  };
  return { file, seen };
}
const sharded = (file: ShardedFile['file']): ShardedFile => ({ name: 'w', file, metadata: { step: '3' } });

test.each([1, 2, 3, 9])('what %i ranks wrote is read as one', async (ranks) => {
  const here = path.join(folder, String(ranks));
  fs.mkdirSync(here);
  const { file } = fileOf(ranks);
  const written = await Promise.all(Array.from({ length: ranks }, (_, rank) => writeShard(here, sharded(file), rank)));
  Object.assign(written[0], await writeIndex(here, sharded(file)));
  // Whole files and nothing else, of at most a share and a tensor each.
  expect(fs.readdirSync(here).sort()).toEqual(written.flatMap((files) => Object.keys(files)).sort());
  const total = Object.values(lengths).reduce((a, b) => a + b);
  for (const names of sharesOf(file))
    expect(names.reduce((sum, name) => sum + lengths[name], 0)).toBeLessThanOrEqual(total / ranks + Math.max(...Object.values(lengths)));
  const checkpoint = await openCheckpoint(here);
  expect(checkpoint.metadata).toMatchObject({ step: '3' });
  expect(checkpoint.names).toEqual(ranks === 1 ? file.order : file.names);
  for (const name of file.names)
    expect(await checkpoint.read(name)).toMatchObject({
      shape: [lengths[name]],
      data: new Float32Array(lengths[name]).fill(value(name)),
    });
  await checkpoint.close();
});

test('while a tensor is written only the next one is put together', async () => {
  const here = path.join(folder, 'slowly');
  fs.mkdirSync(here);
  const { file } = fileOf(1);
  const onDisk = (): number => fs.readdirSync(here).reduce((sum, name) => sum + fs.statSync(path.join(here, name)).size, 0);
  const waiting: number[] = [];
  async function* read(): ReturnType<typeof file.read> {
    let made = 0;
    for await (const [name, tensor] of file.read()) {
      waiting.push(made - onDisk());
      made += 4 * tensor.size;
      yield [name, tensor];
    }
  }
  const { [`w.safetensors`]: written } = await writeShard(here, sharded({ ...file, read }), 0);
  const header = written.bytes - 4 * Object.values(lengths).reduce((a, b) => a + b);
  // What was made before and is not written yet is at most the tensor before.
  const before = [0, ...file.order.map((name) => 4 * lengths[name])];
  expect(waiting).toHaveLength(file.order.length);
  for (const [i, bytes] of waiting.entries()) expect(bytes + (i > 1 ? header : 0), `tensor ${i}`).toBeLessThanOrEqual(before[i]);
});

test('a rank that cannot write takes part to the end all the same', async () => {
  const { file, seen } = fileOf(2);
  await expect(writeShard(path.join(folder, 'missing'), sharded(file), 1)).rejects.toThrow('Cannot write');
  expect(seen).toEqual(file.order);
});

test('an error of another rank ends the writing, and leaves no file', async () => {
  const here = path.join(folder, 'failed');
  fs.mkdirSync(here);
  const { file } = fileOf(2);
  async function* read(): ReturnType<typeof file.read> {
    yield [file.order[0], tf.zeros([lengths[file.order[0]]])];
    throw new Error('rank 1 is gone');
  }
  await expect(writeShard(here, sharded({ ...file, read }), 0)).rejects.toThrow('rank 1 is gone');
  expect(fs.readdirSync(here)).toEqual([]);
});
