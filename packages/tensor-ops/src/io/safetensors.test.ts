import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { SafetensorsFile, writeSafetensors } from './node/index.js';
import {
  decodeSafetensors,
  encodeSafetensors,
  FormatError,
  narrowBfloat16,
  narrowFloat16,
  widenBfloat16,
  widenFloat16,
} from './safetensors.js';

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'safetensors-'));
afterAll(() => fs.rmSync(folder, { recursive: true }));

const floats = Float32Array.of(1, -2.5, Number.NaN, Number.POSITIVE_INFINITY, 0, 3e-42);
const sample = [
  { name: 'a', dtype: 'F32' as const, shape: [2, 3], bytes: new Uint8Array(floats.buffer) },
  { name: 'odd', dtype: 'U8' as const, shape: [3], bytes: Uint8Array.of(1, 2, 3) },
  { name: 'scalar', dtype: 'F64' as const, shape: [], bytes: new Uint8Array(Float64Array.of(Math.PI).buffer) },
  { name: 'none', dtype: 'I64' as const, shape: [0, 4], bytes: new Uint8Array(0) },
];

describe('safetensors', () => {
  test('what is written is read back, in memory and from disk', async () => {
    const inMemory = decodeSafetensors(encodeSafetensors(sample, { objective: 'flow' }));
    expect([...inMemory.get('a')!.data]).toEqual([...floats]);
    expect(inMemory.get('scalar')).toEqual({ dtype: 'F64', shape: [], data: Float64Array.of(Math.PI) });
    const file = path.join(folder, 'x.safetensors');
    const sources = sample.map((t) => ({ ...t, bytes: () => t.bytes }));
    const written = await writeSafetensors(file, sources, { objective: 'flow' });
    expect(written.bytes).toBe(fs.statSync(file).size);
    const opened = await SafetensorsFile.open(file);
    expect(opened.metadata).toEqual({ objective: 'flow' });
    expect(opened.names).toEqual(sample.map((t) => t.name));
    expect(await opened.read('odd')).toEqual({ dtype: 'U8', shape: [3], data: Uint8Array.of(1, 2, 3) });
    expect(await opened.bytes('odd', 1, 2)).toEqual(Uint8Array.of(2));
    await expect(opened.bytes('odd', 2, 5)).rejects.toThrow(FormatError);
    await expect(opened.read('absent')).rejects.toThrow(/no tensor "absent"/);
    await opened.close();
  });

  test('a failed write leaves the old file and no temporary', async () => {
    const file = path.join(folder, 'kept.safetensors');
    await writeSafetensors(file, [{ ...sample[1], bytes: () => sample[1].bytes }]);
    const before = fs.readFileSync(file);
    await expect(writeSafetensors(file, [{ ...sample[1], bytes: () => new Uint8Array(2) }])).rejects.toThrow(
      /should have 3 bytes, but has 2/,
    );
    expect(fs.readFileSync(file)).toEqual(before);
    expect(fs.readdirSync(folder).filter((name) => name.startsWith('.tmp'))).toEqual([]);
  });

  test.each<[string, (bytes: Uint8Array) => Uint8Array, RegExp]>([
    ['is empty', () => new Uint8Array(0), /0 bytes/],
    ['is cut', (b) => b.subarray(0, b.length - 1), /truncated/],
    ['has bytes added', (b) => Uint8Array.of(...b, 0), /bytes added/],
    ['claims a huge header', (b) => b.with(6, 255), /limit/],
    ['has a broken header', (b) => b.with(9, 0), /JSON/],
  ])('a file that %s is refused', (_, damage, message) => {
    expect(() => decodeSafetensors(damage(encodeSafetensors(sample)))).toThrow(message);
  });

  test.each([
    ['{"a":{"dtype":"F8","shape":[1],"data_offsets":[0,1]}}', /data type "F8"/],
    ['{"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}}', /shape/],
    ['{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}}', /data_offsets/],
    ['{"a":{"dtype":"U8","shape":[9007199254740991,9],"data_offsets":[0,1]}}', /takes/],
    ['{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', /overlap/],
    ['[]', /not a JSON object/],
    ['{"__metadata__":{"x":1}}', /metadata/],
  ])('the header %s is refused', (json, message) => {
    const bytes = new TextEncoder().encode(json);
    const file = new Uint8Array(8 + bytes.length + 1);
    new DataView(file.buffer).setBigUint64(0, BigInt(bytes.length), true);
    file.set(bytes, 8);
    expect(() => decodeSafetensors(file)).toThrow(message);
  });

  test('half precisions round to nearest even and come back', () => {
    const all = Uint16Array.from({ length: 65536 }, (_, i) => i);
    const numbers = (bits: Uint16Array, nan: (b: number) => boolean) => bits.filter((b) => !nan(b));
    const halves = numbers(all, (b) => (b & 0x7c00) === 0x7c00 && (b & 0x3ff) !== 0);
    expect(narrowFloat16(widenFloat16(halves))).toEqual(halves);
    const brains = numbers(all, (b) => (b & 0x7f80) === 0x7f80 && (b & 0x7f) !== 0);
    expect(narrowBfloat16(widenBfloat16(brains))).toEqual(brains);
    // Halfway cases: 1 + 2^-11 and 1 + 3 * 2^-11 in half precision, 65520 overflows, 2^-25 underflows to even zero.
    expect([...widenFloat16(narrowFloat16(Float32Array.of(1 + 2 ** -11, 1 + 3 * 2 ** -11, 65519, 65520, 2 ** -25, 3 * 2 ** -25)))]).toEqual(
      [1, 1 + 2 ** -9, 65504, Number.POSITIVE_INFINITY, 0, 2 ** -23],
    );
    expect([...widenBfloat16(narrowBfloat16(Float32Array.of(1 + 2 ** -8, 1 + 3 * 2 ** -8, Number.NaN)))]).toEqual([
      1,
      1 + 2 ** -6,
      Number.NaN,
    ]);
  });
});
