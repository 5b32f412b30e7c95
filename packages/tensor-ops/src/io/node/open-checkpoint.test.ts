import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { fetchCheckpoint } from '../fetch-checkpoint.js';
import { encodeSafetensors, encodeTensor, FormatError, type HostTensor } from '../safetensors.js';
import { TorchCheckpoint } from '../torch-checkpoint.js';
import { TorchTensorSource } from '../torch-writer.js';
import { FileSource, openCheckpoint, openNpz, SafetensorsFile, writeNpz, writeShardedSafetensors, writeTorch } from './index.js';

const root = fs.mkdtempSync(path.join(os.tmpdir(), 'checkpoints-'));
afterAll(() => fs.rmSync(root, { recursive: true }));
const folder = (name: string) => {
  const made = path.join(root, name);
  fs.mkdirSync(made, { recursive: true });
  return made;
};
const bytesOf = (...values: number[]) => encodeTensor(Float32Array.from(values), 'F32');
const safetensors = (names: Record<string, number>) =>
  encodeSafetensors(Object.entries(names).map(([name, value]) => ({ name, dtype: 'F32' as const, shape: [1], bytes: bytesOf(value) })));
const source = (value: number) => new TorchTensorSource('F32', [1], () => bytesOf(value));
const openFiles = () => fs.readdirSync('/proc/self/fd').length;

/** All tensors of a checkpoint. */
async function contents(location: string, options = {}): Promise<Record<string, number[]>> {
  const checkpoint = await openCheckpoint(location, options);
  const read: [string, HostTensor][] = [];
  for (const name of checkpoint.names) {
    read.push([name, await checkpoint.read(name)]);
    expect(checkpoint.info(name)).toMatchObject({ dtype: 'F32', shape: [1] });
  }
  await expect(checkpoint.read('absent')).rejects.toThrow(/no tensor "absent"/);
  await checkpoint.close();
  return Object.fromEntries(read.map(([name, { data }]) => [name, Array.from(data as Float32Array)]));
}

describe('openCheckpoint', () => {
  beforeAll(() => writeTorch(path.join(root, 'b.pt'), { model: { x: source(3) }, ema: { x: source(4) } }));

  test('safetensors and PyTorch files, whatever their name', async () => {
    fs.writeFileSync(path.join(root, 'a.safetensors'), safetensors({ x: 1, y: 2 }));
    fs.copyFileSync(path.join(root, 'a.safetensors'), path.join(root, 'renamed'));
    fs.copyFileSync(path.join(root, 'b.pt'), path.join(root, 'sha256-of-a-cache'));
    expect(await contents(path.join(root, 'a.safetensors'))).toEqual({ x: [1], y: [2] });
    expect(await contents(path.join(root, 'renamed'))).toEqual({ x: [1], y: [2] });
    expect(await contents(path.join(root, 'b.pt'))).toEqual({ x: [4] });
    expect(await contents(path.join(root, 'b.pt'), { entry: 'model' })).toEqual({ x: [3] });
    expect(await contents(path.join(root, 'sha256-of-a-cache'))).toEqual({ x: [4] });
    const opened = await TorchCheckpoint.open(await FileSource.open(path.join(root, 'b.pt')));
    expect(opened.entry).toBe('ema');
    await opened.close();
  });

  test('in a browser by its address, told apart by its content', async () => {
    const fetched = async (bytes: Uint8Array<ArrayBuffer>) => {
      const address = URL.createObjectURL(new Blob([bytes]));
      const opened = await fetchCheckpoint(address).finally(() => URL.revokeObjectURL(address));
      return [
        opened.format,
        Object.fromEntries(await Promise.all(opened.names.map(async (name) => [name, [...(await opened.read(name)).data]]))),
      ];
    };
    const [a, b] = [new Uint8Array(safetensors({ x: 1, y: 2 })), new Uint8Array(fs.readFileSync(path.join(root, 'b.pt')))];
    expect(await fetched(a)).toEqual(['safetensors', { x: [1], y: [2] }]);
    expect(await fetched(b)).toEqual(['torch', { x: [4] }]);
    await expect(fetched(a.slice(0, -1))).rejects.toThrow(FormatError);
    await expect(fetched(b.slice(0, -100))).rejects.toThrow(FormatError);
    await expect(fetched(new Uint8Array(3))).rejects.toThrow(FormatError);
  });

  test.each(['safetensors', 'bin'])('sharded %s, by index and by folder', async (kind) => {
    const inside = folder(`sharded-${kind}`);
    const shards: Record<string, Record<string, number>> = { [`m-1.${kind}`]: { a: 1, b: 2 }, [`m-2.${kind}`]: { c: 3 } };
    for (const [file, values] of Object.entries(shards))
      if (kind === 'bin')
        await writeTorch(path.join(inside, file), Object.fromEntries(Object.entries(values).map(([k, v]) => [k, source(v)])));
      else fs.writeFileSync(path.join(inside, file), safetensors(values));
    const map = Object.entries(shards).flatMap(([file, values]) => Object.keys(values).map((name) => [name, file]));
    const index = path.join(inside, `m.${kind}.index.json`);
    fs.writeFileSync(index, JSON.stringify({ metadata: { total_size: 12 }, weight_map: Object.fromEntries(map.reverse()) }));
    expect(await contents(index)).toEqual({ a: [1], b: [2], c: [3] });
    expect(await contents(inside)).toEqual({ a: [1], b: [2], c: [3] });
  });

  test.each([
    ['{"weight_map": {"a": "../a.safetensors"}}', /only files beside it/],
    ['{"weight_map": {"a": "/etc/passwd"}}', /only files beside it/],
    ['{"weight_map": {"a": ".."}}', /only files beside it/],
    ['{"weight_map": {"a": "none.safetensors"}}', /none.safetensors is missing/],
    ['{"weight_map": {"a": "s.safetensors", "zzz": "s.safetensors"}}', /"zzz" in s.safetensors, which has no such tensor/],
    ['{"weight_map": {"a": "s.safetensors", "a": "s.safetensors"}}', /twice/],
    ['{"weight_map": {"a": 1}}', /no "weight_map"/],
    ['{"weight_map": []}', /no "weight_map"/],
    ['{"weight', /not JSON/],
  ])('the index %s is refused, and no file stays open', async (json, message) => {
    const inside = folder('bad-index');
    fs.writeFileSync(path.join(inside, 's.safetensors'), safetensors({ a: 1 }));
    fs.writeFileSync(path.join(inside, 'x.index.json'), json);
    const before = openFiles();
    await expect(openCheckpoint(path.join(inside, 'x.index.json'))).rejects.toThrow(message);
    expect(openFiles()).toBe(before);
  });

  test('damaged and missing files are refused, and no file stays open', async () => {
    fs.writeFileSync(path.join(root, 'cut.safetensors'), safetensors({ x: 1 }).subarray(0, 30));
    fs.writeFileSync(path.join(root, 'page.pt'), '<html></html>');
    fs.writeFileSync(path.join(root, 'short.pt'), Uint8Array.of(0x50));
    const before = openFiles();
    await expect(openCheckpoint(path.join(root, 'cut.safetensors'))).rejects.toThrow(/truncated/);
    await expect(openCheckpoint(path.join(root, 'page.pt'))).rejects.toThrow(/not a PyTorch file/);
    await expect(openCheckpoint(path.join(root, 'short.pt'))).rejects.toThrow(/not a PyTorch file/);
    await expect(openCheckpoint(path.join(root, 'b.pt'), { entry: 'none' })).rejects.toThrow(/no tensors under "none"/);
    await expect(openCheckpoint(path.join(root, 'nothing'))).rejects.toThrow(/no such file or folder/);
    const [a, b] = [path.join(root, 'a'), path.join(root, 'b')];
    fs.symlinkSync(a, b);
    fs.symlinkSync(b, a);
    await expect(openCheckpoint(a)).rejects.toThrow(/links lead in a circle/);
    expect(openFiles()).toBe(before);
  });

  test('a folder with several files, or none, is refused', async () => {
    const inside = folder('several');
    await expect(openCheckpoint(inside)).rejects.toThrow(/holds no checkpoint/);
    fs.writeFileSync(path.join(inside, 'one.safetensors'), safetensors({ x: 1 }));
    expect(await contents(inside)).toEqual({ x: [1] });
    fs.writeFileSync(path.join(inside, 'two.safetensors'), safetensors({ x: 2 }));
    await expect(openCheckpoint(inside)).rejects.toThrow(/several checkpoints: one.safetensors, two.safetensors/);
  });

  test('DeepSpeed folders are recognised', async () => {
    const touch = (...parts: string[]) => fs.writeFileSync(path.join(...parts), '');
    const two = folder('zero-2');
    fs.writeFileSync(path.join(two, 'latest'), 'global_step5\n');
    const step = folder('zero-2/global_step5');
    touch(step, 'mp_rank_00_model_states.pt');
    touch(step, 'bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt');
    await expect(openCheckpoint(two)).rejects.toMatchObject({ code: 'E_UNSUPPORTED_CHECKPOINT' });
    await expect(openCheckpoint(two)).rejects.toThrow(/ZeRO-1 or ZeRO-2.*zero_to_fp32.py.*global_step5\/mp_rank_00_model_states.pt/);
    await expect(openCheckpoint(step)).rejects.toThrow(/ZeRO-1 or ZeRO-2/);
    const three = folder('zero-3');
    touch(three, 'zero_pp_rank_0_mp_rank_00_model_states.pt');
    await expect(openCheckpoint(three)).rejects.toThrow(/ZeRO-3.*zero_to_fp32.py/);
    const incomplete = folder('zero-incomplete');
    touch(incomplete, 'zero_pp_rank_0_mp_rank_00_optim_states.pt');
    await expect(openCheckpoint(incomplete)).rejects.toThrow(/incomplete/);
    const parallel = folder('model-parallel');
    touch(parallel, 'mp_rank_00_model_states.pt');
    touch(parallel, 'mp_rank_01_model_states.pt');
    await expect(openCheckpoint(parallel)).rejects.toThrow(/2 model-parallel ranks/);
  });
});

test('weights are split over files by size, and found again by folder', async () => {
  const inside = folder('split');
  const tensors = ['a', 'b', 'c'].map((name, i) => ({ name, dtype: 'F32' as const, shape: [1], bytes: () => bytesOf(i) }));
  expect(await writeShardedSafetensors(inside, 'model', tensors, { step: '1' }, 8)).toBe(path.join(inside, 'model.safetensors.index.json'));
  expect(fs.readdirSync(inside)).toEqual([
    'model-00001-of-00002.safetensors',
    'model-00002-of-00002.safetensors',
    'model.safetensors.index.json',
  ]);
  expect(await contents(inside)).toEqual({ a: [0], b: [1], c: [2] });
  const whole = folder('whole');
  expect(await writeShardedSafetensors(whole, 'model', tensors)).toBe(path.join(whole, 'model.safetensors'));
  expect(await contents(whole)).toEqual({ a: [0], b: [1], c: [2] });
});

test('reading into memory that is reused', async () => {
  const file = path.join(root, 'long.safetensors');
  // Longer than one part of a read, and not a multiple of it.
  const values = Float32Array.from({ length: 2_500_001 }, (_, i) => i);
  fs.writeFileSync(file, encodeSafetensors([{ name: 'x', dtype: 'F32', shape: [values.length], bytes: encodeTensor(values, 'F32') }]));
  const opened = await SafetensorsFile.open(file);
  const memory = new Uint8Array(4 * values.length + 4);
  const { data } = await opened.read('x', memory);
  expect(data.buffer).toBe(memory.buffer);
  expect(Buffer.compare(encodeTensor(data, 'F32'), encodeTensor(values, 'F32'))).toBe(0);
  await expect(opened.read('x', new Uint8Array(8))).rejects.toMatchObject({ code: 'E_ARGUMENT' });
  await opened.close();
});

test('npz files on disk; a failed write keeps the old file', async () => {
  const file = path.join(root, 'x.npz');
  const image = { name: 'arr_0', dtype: 'U8' as const, shape: [2, 2], chunks: () => [Uint8Array.of(1, 2), Uint8Array.of(3, 4)] };
  await writeNpz(file, [image], { compress: true });
  await expect(writeNpz(file, [{ ...image, shape: [3, 2] }])).rejects.toThrow(/should have/);
  const { arrays, close } = await openNpz(file);
  expect(await arrays.read('arr_0')).toEqual({ dtype: 'U8', shape: [2, 2], data: Uint8Array.of(1, 2, 3, 4) });
  await close();
  expect(fs.readdirSync(root).filter((name) => name.startsWith('.tmp'))).toEqual([]);
});
