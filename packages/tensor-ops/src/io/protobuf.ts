/**
 * The wire format of Protocol Buffers, as far as TensorFlow's messages need it. Writing: every field is bytes, and a message is its
 * fields one after another. Reading: fields are extents, so that a large one is found without being read.
 *
 * Source: protobuf.dev/programming-guides/encoding.
 */
import { FormatError } from './safetensors.js';

const encoder = /* @__PURE__ */ new TextEncoder();
const encoded = (part: Uint8Array | string): Uint8Array => (typeof part === 'string' ? encoder.encode(part) : part);
const lengthOf = (parts: readonly Uint8Array[]): number => parts.reduce((sum, part) => sum + part.length, 0);

/** Bytes one after another. */
export function joined(...parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(lengthOf(parts));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** A whole number in groups of seven bits; a negative one takes ten bytes, as two's complement of 64 bits. */
function varint(value: number | bigint): number[] {
  if (typeof value === 'bigint' || value < 0) {
    const bits = BigInt.asUintN(64, BigInt(value));
    return bits < 0x80n ? [Number(bits)] : [Number(bits & 0x7fn) | 0x80, ...varint(bits >> 7n)];
  }
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) | 0x80);
  bytes.push(rest);
  return bytes;
}

/** How a field's value is stored, the lower three bits of its tag. */
const [VARINT, FIXED64, LENGTH, FIXED32] = [0, 1, 2, 5];

const head = (field: number, wire: number): number[] => varint(field * 8 + wire);

/** A field of a whole number, a truth value or an enumeration. */
export const integerField = (field: number, value: number | bigint): Uint8Array =>
  Uint8Array.from([...head(field, VARINT), ...varint(value)]);

/** A field of a `float`. */
export function floatField(field: number, value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setFloat32(0, value, true);
  return joined(Uint8Array.from(head(field, FIXED32)), bytes);
}

/** A field of a `double`. */
export function doubleField(field: number, value: number): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setFloat64(0, value, true);
  return joined(Uint8Array.from(head(field, FIXED64)), bytes);
}

/** A field of bytes, of a text as UTF-8, or of a message, whose fields are `parts`. */
export function bytesField(field: number, ...parts: readonly (Uint8Array | string)[]): Uint8Array {
  const all = parts.map(encoded);
  return joined(Uint8Array.from([...head(field, LENGTH), ...varint(lengthOf(all))]), ...all);
}

/** A field that was read: where its content lies, and the number if it is one. */
export interface ProtobufField {
  field: number;
  /** Of a `varint` field, else 0. */
  value: number;
  /** Content of the others, from `start` to `end`. */
  start: number;
  end: number;
}

/**
 * The field that begins at `at`; its content may lie beyond the bytes given.
 * @param name of the file or message, for the error
 * @param base position of `bytes` in the file, for the error
 * @throws FormatError if there is none
 */
export function readField(bytes: Uint8Array, at: number, name: string, base = 0): ProtobufField {
  const broken = (): FormatError =>
    new FormatError(name, `byte ${base + at}: not a protobuf field; this is another kind of file, or damaged.`);
  let next = at;
  const number = (): number => {
    let value = 0;
    for (let factor = 1; ; factor *= 0x80) {
      const byte = bytes[next];
      // Larger numbers are not exact, and no length of a file.
      if (byte === undefined || factor > 2 ** 49) throw broken();
      next++;
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
    }
  };
  const tag = number();
  const [field, wire] = [Math.floor(tag / 8), tag % 8];
  if (field === 0) throw broken();
  if (wire === VARINT) {
    const start = next;
    return { field, value: number(), start, end: next };
  }
  if (wire !== FIXED64 && wire !== FIXED32 && wire !== LENGTH) throw broken();
  const length = wire === LENGTH ? number() : wire === FIXED64 ? 8 : 4;
  return { field, value: 0, start: next, end: next + length };
}

/**
 * The fields of a message from `start` to `end`.
 * @throws FormatError if they do not end there
 */
export function* readFields(
  bytes: Uint8Array,
  name: string,
  { start, end }: Pick<ProtobufField, 'start' | 'end'> = { start: 0, end: bytes.length },
  base = 0,
): Generator<ProtobufField> {
  for (let at = start; at < end; ) {
    const field = readField(bytes.subarray(0, end), at, name, base);
    if (field.end > end)
      throw new FormatError(name, `byte ${base + at}: not a protobuf field; it goes beyond the end of its message, so this is damaged.`);
    yield field;
    at = field.end;
  }
}
