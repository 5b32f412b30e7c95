import { describe, expect, test } from 'vitest';
import { concatenate, memorySource } from './byte-source.js';
import { decodeNpy, encodeNpy, encodeNpyHeader } from './npy.js';
import { encodeNpz, Npz, npzChunks } from './npz.js';
import { encodeTensor, type HostTensor } from './safetensors.js';

const tensors: [string, HostTensor][] = [
  ['f8', { dtype: 'F64', shape: [2], data: Float64Array.of(Math.PI, Number.NaN) }],
  ['f4', { dtype: 'F32', shape: [2, 3], data: Float32Array.of(0, 1, 2, 3, 4, 5) }],
  ['f2', { dtype: 'F16', shape: [1, 2], data: Float32Array.of(0.5, -65504) }],
  ['i8', { dtype: 'I64', shape: [2], data: BigInt64Array.of(2n ** 53n + 1n, -1n) }],
  ['i4', { dtype: 'I32', shape: [], data: Int32Array.of(-7) }],
  ['i2', { dtype: 'I16', shape: [1], data: Int16Array.of(-300) }],
  ['i1', { dtype: 'I8', shape: [1], data: Int8Array.of(-3) }],
  ['u1', { dtype: 'U8', shape: [0, 4], data: new Uint8Array(0) }],
  ['b1', { dtype: 'BOOL', shape: [3], data: Uint8Array.of(1, 0, 1) }],
];

/** A file with a header of one's choice. */
function npy(version: number, header: string, data: Uint8Array): Uint8Array {
  const text = new TextEncoder().encode(header);
  const prefix = version === 1 ? [text.length & 255, text.length >> 8] : [text.length & 255, text.length >> 8, 0, 0];
  return Uint8Array.of(0x93, ...new TextEncoder().encode('NUMPY'), version, 0, ...prefix, ...text, ...data);
}
const six = encodeTensor(Float32Array.of(0, 1, 2, 3, 4, 5), 'F32');

describe('npy', () => {
  test('the header is the one that NumPy writes', () => {
    const text = "{'descr': '<f4', 'fortran_order': False, 'shape': (5,), }".padEnd(117, ' ');
    expect(encodeNpyHeader('F32', [5])).toEqual(Uint8Array.of(0x93, ...new TextEncoder().encode(`NUMPY\x01\0v\0${text}\n`)));
  });

  test.each(tensors)('%s comes back', (_, tensor) => {
    expect(decodeNpy(encodeNpy(tensor))).toEqual(tensor);
  });

  test('versions 1 to 3, any spacing and Fortran order are read', () => {
    for (const version of [1, 2, 3])
      expect(decodeNpy(npy(version, "{'shape':(2, 3),'fortran_order':False,'descr':'<f4'}\n", six)).shape).toEqual([2, 3]);
    const columns = decodeNpy(npy(1, "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }", six));
    expect([...columns.data]).toEqual([0, 2, 4, 1, 3, 5]);
  });

  test('the other byte order is read', () => {
    const big = new Uint8Array(24);
    for (let i = 0; i < 6; i++) new DataView(big.buffer).setFloat32(4 * i, i);
    expect([...decodeNpy(npy(1, "{'descr': '>f4', 'fortran_order': False, 'shape': (2, 3), }", big)).data]).toEqual([0, 1, 2, 3, 4, 5]);
  });

  test.each([
    [npy(4, '{}', six), /version 4/],
    [npy(1, "{'descr': '|O', 'fortran_order': False, 'shape': (2, 3), }", six), /'\|O' are not supported/],
    [npy(1, "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (6,), }", six), /not one of a plain array/],
    [npy(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (-2, -3), }", six), /not one of a plain array/],
    [npy(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 4), }", six), /expected .* bytes/],
    [npy(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999, 9999999999), }", six), /impossible/],
    [npy(2, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", six).with(11, 0x7f), /more than the limit/],
    [new TextEncoder().encode('<html> not an array'), /not an .npy file/],
  ])('file %# is refused', (file, message) => {
    expect(() => decodeNpy(file)).toThrow(message);
  });

  test('bfloat16 and data of another type are refused', () => {
    expect(() => encodeNpyHeader('BF16', [1])).toThrow(/NumPy has no data type BF16/);
    expect(() => encodeNpy({ dtype: 'F32', shape: [1], data: Int32Array.of(1) })).toThrow(/written from a Float32Array/);
  });
});

describe.each([{ compress: false }, { compress: true }])('npz, %o', (options) => {
  test('all arrays come back', async () => {
    const npz = await Npz.open(memorySource(await encodeNpz(new Map(tensors), options)));
    expect(npz.names).toEqual(tensors.map(([name]) => name));
    for (const [name, tensor] of tensors) expect(await npz.read(name)).toEqual(tensor);
    expect(await npz.info('f4')).toMatchObject({ dtype: 'F32', shape: [2, 3], fortranOrder: false });
    await expect(npz.read('absent')).rejects.toThrow(/no member "absent.npy"/);
  });

  test('rows come in parts, written and read without the whole array', async () => {
    const [count, width] = [1001, 777];
    const images = Int32Array.from({ length: count * width }, (_, i) => i);
    const bytes = encodeTensor(images, 'I32');
    const file = await concatenate(
      npzChunks(
        [
          {
            name: 'arr_0',
            dtype: 'I32',
            shape: [count, width],
            *chunks() {
              for (let at = 0; at < bytes.length; at += 100_000) yield bytes.subarray(at, at + 100_000);
            },
          },
        ],
        options,
      ),
    );
    const npz = await Npz.open(memorySource(file));
    const parts: HostTensor[] = [];
    for await (const part of npz.rows('arr_0', 300)) parts.push(part);
    expect(parts.map(({ shape }) => shape)).toEqual([
      [300, width],
      [300, width],
      [300, width],
      [101, width],
    ]);
    const together = await concatenate(parts.map(({ data, dtype }) => encodeTensor(data, dtype)));
    expect(Buffer.compare(together, bytes)).toBe(0);
  });

  test('a changed byte is found', async () => {
    const file = await encodeNpz(new Map(tensors.slice(1, 2)), options);
    const npz = await Npz.open(memorySource(file.with(options.compress ? 60 : 180, 0xaa)));
    await expect(npz.read('f4')).rejects.toThrow(/damaged|claims|arr|npy/);
  });
});

test('an array larger than the caller expects is refused before it is inflated', async () => {
  const data = new Uint8Array(1_000_000);
  const file = await encodeNpz(new Map([['a', { dtype: 'U8' as const, shape: [1_000_000], data }]]), { compress: true });
  expect(file.length).toBeLessThan(5000);
  const npz = await Npz.open(memorySource(file));
  await expect(npz.read('a', 999_999)).rejects.toThrow(/a: the array \[1000000\] has 1000000 bytes, more than the 999999/);
  expect((await npz.read('a', 1_000_000)).data.length).toBe(1_000_000);
});
