/**
 * Reading and writing string tensors: TensorFlow's `TF_TString` in memory (tensorflow tsl/platform/ctstring_internal.h).
 * 24 bytes each; the two low bits of the first byte tell the layout: 0 small (inline), 1 large (size, capacity, pointer),
 * 2 offset (relative to itself), 3 view (size, pointer). Little endian only, as every machine that TensorFlow ships for.
 */
import { type CApi, memoryView, type Pointer } from './c-api.js';

export const STRING_BYTES = 24;
const SMALL_CAPACITY = 22;

/** Writes `values` to uninitialised string-tensor memory at `data`. */
export function writeStrings(api: CApi, data: Pointer, values: readonly Uint8Array[]): void {
  if (values.length === 0) return;
  const memory = memoryView(data, values.length * STRING_BYTES);
  const words = new DataView(memory.buffer, memory.byteOffset, memory.byteLength);
  values.forEach((value, i) => {
    const at = i * STRING_BYTES;
    memory.fill(0, at, at + STRING_BYTES);
    if (value.length <= SMALL_CAPACITY) {
      memory[at] = value.length << 2;
      memory.set(value, at + 1);
      return;
    }
    // Owned by the tensor afterwards, which frees it with free().
    const pointer = api.malloc(value.length + 1);
    const owned = memoryView(pointer, value.length + 1);
    owned.set(value);
    owned[value.length] = 0;
    words.setBigUint64(at, (BigInt(value.length) << 2n) | 1n, true);
    words.setBigUint64(at + 8, BigInt(value.length), true);
    words.setBigUint64(at + 16, BigInt(pointer), true);
  });
}

/** Copies the `count` strings of string-tensor memory at `data`. */
export function readStrings(data: Pointer, count: number): Uint8Array[] {
  if (count === 0) return [];
  const memory = memoryView(data, count * STRING_BYTES);
  const words = new DataView(memory.buffer, memory.byteOffset, memory.byteLength);
  const copy = (pointer: Pointer, length: number): Uint8Array => (length === 0 ? new Uint8Array(0) : memoryView(pointer, length).slice());
  return Array.from({ length: count }, (_, i) => {
    const at = i * STRING_BYTES;
    switch (memory[at] & 3) {
      case 0:
        return memory.slice(at + 1, at + 1 + (memory[at] >> 2));
      case 1:
        return copy(Number(words.getBigUint64(at + 16, true)), Number(words.getBigUint64(at, true) >> 2n));
      case 2:
        return copy(data + at + words.getUint32(at + 4, true), words.getUint32(at, true) >>> 2);
      default:
        return copy(Number(words.getBigUint64(at + 8, true)), Number(words.getBigUint64(at, true) >> 2n));
    }
  });
}
