import fs from 'node:fs';
import { describe, expect, test } from 'vitest';
import { concatenate, memorySource } from './byte-source.js';
import { ForbiddenGlobalError, PickleObject } from './pickle.js';
import { decodeTensor, encodeTensor, FormatError } from './safetensors.js';
import { TorchFile } from './torch-reader.js';
import { findStateDict, torchAdamState, torchObjects, torchPlain } from './torch-state.js';
import { MAX_EXPANDED_BYTES, type TorchTensor } from './torch-tensor.js';
import { TorchTensorSource, type TorchWritable, torchChunks } from './torch-writer.js';
import { ZipArchive } from './zip-reader.js';
import { zipChunks } from './zip-writer.js';

// Written by PyTorch 2.13: {model: a Linear's state dict, ema: views and types, opt: AdamW after one step, args: Namespace}.
const fixture = (name: string) => fs.readFileSync(new URL(`../../test/fixtures/${name}`, import.meta.url));
const open = (bytes: Uint8Array) => TorchFile.open(memorySource(bytes, 'test.pt'));
const eighths = (...n: number[]) => n.map((x) => x / 8);

describe.each(['torch-zip.pt', 'torch-legacy.pt'])('%s', (name) => {
  test('views, shared storages and every type are read as PyTorch has them', async () => {
    const file = await open(fixture(name));
    const { entry, tensors } = findStateDict(file.value, name);
    expect(entry).toBe('ema');
    const read = async (key: string) => file.read(tensors.get(key)!);
    const values = async (key: string) => Array.from((await read(key)).data as Iterable<number | bigint>);
    expect((await read('transposed')).shape).toEqual([6, 4]);
    expect(await values('transposed')).toEqual(Array.from({ length: 24 }, (_, i) => ((i % 4) * 6 + Math.floor(i / 4)) / 8));
    expect((await read('sliced')).shape).toEqual([3, 2]);
    expect(await values('sliced')).toEqual(eighths(8, 10, 14, 16, 20, 22));
    expect(await values('row')).toEqual(eighths(12, 13, 14, 15, 16, 17));
    expect(tensors.get('row')!.storage).toBe(tensors.get('transposed')!.storage);
    expect(await values('expanded')).toEqual([0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]);
    expect(await read('scalar')).toEqual({ dtype: 'F32', shape: [], data: Float32Array.of(3.25) });
    expect(await read('empty')).toEqual({ dtype: 'F32', shape: [0, 5], data: new Float32Array(0) });
    expect(await values('parameter')).toEqual([1, 2]);
    expect(await read('f64')).toEqual({ dtype: 'F64', shape: [1], data: Float64Array.of(0.1) });
    expect(await values('f16')).toEqual([0.0999755859375, -65504]);
    expect(await values('bf16')).toEqual([0.10009765625, Number.POSITIVE_INFINITY]);
    expect(await values('i64')).toEqual([2n ** 53n + 1n, -1n]);
    expect(await values('i32')).toEqual([-(2 ** 31)]);
    expect(await values('i16')).toEqual([-(2 ** 15), 7]);
    expect(await values('i8')).toEqual([-128, 127]);
    expect(await values('u8')).toEqual([255, 0, 1]);
    expect(await read('bool')).toEqual({ dtype: 'BOOL', shape: [2], data: Uint8Array.of(1, 0) });
  });

  test('optimizer state and options', async () => {
    const file = await open(fixture(name));
    const root = file.value as Map<string, unknown>;
    const { groups, state } = torchAdamState(root.get('opt'), name);
    expect(groups).toEqual([{ lr: 1e-3, betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0.1, params: [0, 1] }]);
    expect([...state.keys()]).toEqual([0]);
    // The gradient was 2 w = (2, -4, 1, 6).
    expect((await file.read(state.get(0)!.expAvg)).data).toEqual(Float32Array.of(0.2, -0.4, 0.1, 0.6));
    const squares = (await file.read(state.get(0)!.expAvgSq)).data as Float32Array;
    [4, 16, 1, 36].forEach((square, i) => {
      expect(squares[i]).toBeCloseTo(square / 1000, 6);
    });
    expect((await file.read(state.get(0)!.step as TorchTensor)).data).toEqual(Float32Array.of(1));
    const options = {
      lr: 1e-4,
      model: 'DiT-S/2',
      sizes: [1, 2],
      none: null,
      big: String(2n ** 70n),
      flag: true,
      raw: [0, 255],
      text: 'é漢',
    };
    expect({ ...(torchPlain(root.get('args'), name) as object) }).toEqual(options);
    expect(() => torchAdamState(root.get('args'), name)).toThrow(/not the state of an Adam optimizer/);
  });

  test('the end cut off is found on opening', async () => {
    const bytes = fixture(name);
    for (const cut of [1, 9, 100, bytes.length / 2, bytes.length - 1])
      await expect(open(bytes.subarray(0, bytes.length - cut))).rejects.toSatisfy((error) => FormatError.isInstance(error));
    await expect(open(Uint8Array.of(...bytes, 0))).rejects.toSatisfy((error) => FormatError.isInstance(error));
  });
});

const tensor = (values: number[], shape = [values.length]) =>
  new TorchTensorSource('F32', shape, () => encodeTensor(Float32Array.from(values), 'F32'));
const write = (value: TorchWritable) => concatenate(torchChunks(value));

describe('writing', () => {
  test('what is written is read back, bit by bit', async () => {
    const shared = tensor([1, 2]);
    const half = encodeTensor(Float32Array.of(0.5, Number.NaN), 'BF16');
    const value = {
      model: new Map([
        ['a', shared],
        ['tied', shared],
        ['half', new TorchTensorSource('BF16', [2, 1], () => half)],
      ]),
      epoch: 3,
      lr: 1e-4,
      minus: -0,
      list: [true, null, 'é', -129, 255, 2n ** 70n, -(2n ** 70n)],
      none: tensor([], [0, 3]),
    };
    const file = await open(await write(value));
    const { tensors } = findStateDict(file.value, 'test.pt');
    expect([...tensors.keys()]).toEqual(['a', 'tied', 'half']);
    expect((await file.read(tensors.get('a')!)).data).toEqual(Float32Array.of(1, 2));
    expect(tensors.get('tied')!.storage).toBe(tensors.get('a')!.storage);
    expect((await file.read(tensors.get('half')!)).data).toEqual(decodeTensor(half, 'BF16'));
    const root = file.value as Map<string, unknown>;
    expect([root.get('epoch'), root.get('lr'), root.get('minus')]).toEqual([3, 1e-4, -0]);
    expect(root.get('list')).toEqual(value.list);
  });

  test('a tensor with wrong bytes, and values that are not data, are refused', async () => {
    await expect(write({ a: tensor([1, 2], [3]) })).rejects.toThrow(/should have 12 bytes, but has 8/);
    expect(() => torchChunks({ date: new Date() as unknown as string })).toThrow(/plain values/);
  });
});

describe('containers', () => {
  const one = { w: tensor([1]) };
  test.each<[string, TorchWritable, string]>([
    ['bare', one, ''],
    ['training', { model: one, ema: one, opt: {}, args: {} }, 'ema'],
    ['averages only', { ema: one }, 'ema'],
    ['no averages', { model: one, epoch: 3 }, 'model'],
    ['lightning', { state_dict: one, epoch: 3 }, 'state_dict'],
    ['deepspeed module', { module: one, ds_version: '0.1' }, 'module'],
    ['an unknown name, alone', { weights: one, step: 1 }, 'weights'],
    ['an average by its name', { params: one, params_ema: one }, 'params_ema'],
    ['a dictionary in an entry', { ema: { shadow: one, decay: 0.9 } }, 'ema.shadow'],
  ])('%s', async (_, value, entry) => {
    expect(findStateDict((await open(await write(value))).value, 'x').entry).toBe(entry);
  });

  test('one dictionary under many entries is looked through once', () => {
    let looks = 0;
    class Counted extends Map<string, null> {
      override [Symbol.iterator]() {
        looks++;
        return super[Symbol.iterator]();
      }
    }
    const inner = new Counted();
    const root = new Map(Array.from({ length: 1000 }, (_, i) => [`entry ${i}`, inner]));
    expect(() => findStateDict(root, 'x')).toThrow(/No entry/);
    expect(looks).toBe(1);
  });

  test('a doubtful choice is refused, and can be made', async () => {
    const { value } = await open(await write({ generator: one, critic: one }));
    expect(() => findStateDict(value, 'x')).toThrow(/not clear.*"generator", "critic"/);
    expect(findStateDict(value, 'x', 'critic').entry).toBe('critic');
    expect(() => findStateDict(value, 'x', 'ema')).toThrow(/no tensors under "ema"/);
    expect(() => findStateDict(null, 'x')).toThrow(/No entry/);
  });
});

describe('hostile files', () => {
  /** The file with `data.pkl` changed. */
  async function repickled(change: (pickle: string) => string, value: TorchWritable = { w: tensor([1, 2]) }): Promise<Uint8Array> {
    const archive = await ZipArchive.open(memorySource(await write(value)));
    const members = [];
    for (const entry of archive.entries.values()) {
      const bytes = await archive.read(entry);
      const text = Array.from(bytes, (b) => String.fromCharCode(b)).join('');
      const changed = entry.name.endsWith('data.pkl') ? Uint8Array.from(change(text), (c) => c.charCodeAt(0)) : bytes;
      if (changed.length > 0) members.push({ name: entry.name, size: changed.length, chunks: () => [changed] });
    }
    return concatenate(zipChunks(members));
  }
  const long = (n: number) => `\x8a\x08${String.fromCharCode(...new Uint8Array(BigInt64Array.of(BigInt(n)).buffer))}`;

  test('a tensor that leaves its storage, or repeats it without end, is refused before it is read', async () => {
    const sizes = (shape: string, strides: string) =>
      repickled((p) => p.replace('(\x8a\x01\x02t(\x8a\x01\x01t', () => `(${shape}t(${strides}t`));
    await expect(open(await sizes('K\x03', 'K\x01'))).rejects.toThrow(/reaches beyond its storage/);
    await expect(open(await sizes('K\x02', 'K\x02'))).rejects.toThrow(/reaches beyond its storage/);
    await expect(open(await sizes(long(2 ** 40), 'K\x00'))).rejects.toThrow(/beyond the limit/);
    await expect(open(await sizes(long(2 ** 52) + long(2 ** 52), 'K\x00K\x00'))).rejects.toThrow(/beyond the limit/);
    await expect(open(await sizes('J\xff\xff\xff\xff', 'K\x01'))).rejects.toThrow(/impossible/);
    await expect(open(await sizes('K\x01'.repeat(65), 'K\x01'.repeat(65)))).rejects.toThrow(/impossible/);
    const repeated = (await open(await sizes(long(MAX_EXPANDED_BYTES / 4), 'K\x00'))).value as Map<string, TorchTensor>;
    expect(repeated.get('w')!.shape).toEqual([MAX_EXPANDED_BYTES / 4]);
  });

  test('claims about storages are checked against the file', async () => {
    const key = 'X\x01\0\0\x000X\x03\0\0\0cpu\x8a\x01\x02';
    await expect(open(await repickled((p) => p.replace(key, () => `X\x01\0\0\x001X\x03\0\0\0cpu\x8a\x01\x02`)))).rejects.toThrow(/missing/);
    await expect(open(await repickled((p) => p.replace(key, () => `X\x01\0\0\x000X\x03\0\0\0cpu${long(2 ** 45)}`)))).rejects.toThrow(
      /has 8 bytes, its tensors need/,
    );
    await expect(open(await repickled((p) => p.replace('FloatStorage', 'FloatStorages')))).rejects.toThrow(ForbiddenGlobalError);
    await expect(open(await repickled((p) => p.replace('X\x07\0\0\0storage', 'X\x06\0\0\0system')))).rejects.toThrow(
      /reference to a storage/,
    );
    await expect(open(await repickled(() => ''))).rejects.toThrow(/0 members/);
  });

  test('what training scripts store beside the weights is taken as inert records', async () => {
    const bytes = await repickled(
      (p) => p.replace(/N\x2e?u\./, () => 'cpytorch_lightning.callbacks\nCheckpoint\n)R}X\x01\0\0\0aK\x01sbu.'),
      {
        state_dict: { w: tensor([1]) },
        callbacks: null,
      },
    );
    const root = (await open(bytes)).value as Map<string, unknown>;
    expect(root.get('callbacks')).toMatchObject({ className: 'pytorch_lightning.callbacks.Checkpoint', state: new Map([['a', 1]]) });
    expect(root.get('callbacks')).toBeInstanceOf(PickleObject);
    expect(torchObjects(root)).toEqual(['callbacks (pytorch_lightning.callbacks.Checkpoint)']);
  });

  test('tensors of types that no model has are objects, and a whole pickled module is no dictionary of tensors', async () => {
    const { value } = await open(await repickled((p) => p.replace('FloatStorage', 'QInt32Storage')));
    expect((value as Map<string, unknown>).get('w')).toBeInstanceOf(PickleObject);
    expect(() => findStateDict(new PickleObject('torch.nn.modules.linear.Linear', []), 'x.pt')).toThrow(/whole object.*state_dict/);
  });

  test('plain values of a small pickle cannot grow without end', async () => {
    const list: unknown[] = [];
    list.push(list);
    expect(() => torchPlain(list, 'x')).toThrow(/nested/);
    expect(torchObjects(list)).toEqual([]);
    let wide: unknown[] = [1];
    for (let i = 0; i < 40; i++) wide = [wide, wide];
    expect(() => torchPlain(wide, 'x')).toThrow(/more than/);
    expect(torchPlain(new Map([['__proto__', 1]]), 'x')).not.toHaveProperty('polluted');
    expect(Object.keys(torchPlain(new Map([['__proto__', 1]]), 'x') as object)).toEqual(['__proto__']);
  });

  test.each([
    ['an empty file', new Uint8Array(0), /empty/],
    ['a web page', new TextEncoder().encode('<!DOCTYPE html><html>not found</html>'), /not a PyTorch file/],
    ['a bare pickle', new TextEncoder().encode("cos\nsystem\n(S'echo'\ntR."), /"os.system"/],
    ['a tar file', new Uint8Array(512).fill(0x75, 257, 258).with(258, 0x73).with(259, 0x74).with(260, 0x61).with(261, 0x72), /tar file/],
  ])('%s', async (_, bytes, message) => {
    await expect(open(bytes)).rejects.toThrow(message);
  });
});
