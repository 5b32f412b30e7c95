/**
 * The safetensors format: an 8-byte little-endian header length, a JSON header, then the tensors' bytes.
 *
 * Everything here works on bytes in memory; `io/node` reads files piece by piece. Headers are untrusted: sizes, offsets and
 * shapes are checked against the file before anything is allocated, as the format's own library does.
 */
import { DitMoeError } from '../errors.js';
import { duplicateKey } from './duplicate-key.js';

/** Bytes per element of the data types of the format; others are refused by name. */
export const safetensorsDtypes = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U8: 1,
  BOOL: 1,
  U16: 2,
  U32: 4,
  U64: 8,
  F8_E4M3: 1,
  F8_E5M2: 1,
  C64: 8,
} as const;
/** Type of the numbers of a safetensors file. */
export type SafetensorsDtype = keyof typeof safetensorsDtypes;

/** Longest header that is read: that of the format's own library. */
export const MAX_HEADER_BYTES = 100_000_000;

/** Numbers on the host. */
export type HostData =
  | Float32Array
  | Float64Array
  | Int32Array
  | Uint8Array
  | Int8Array
  | Int16Array
  | BigInt64Array
  | Uint16Array
  | Uint32Array
  | BigUint64Array;

/**
 * A tensor on the host; `dtype` is that of the file. F16, BF16 and the F8 types are widened to float32; C64 is pairs of float32, real before
 * imaginary part.
 */
export interface HostTensor {
  dtype: SafetensorsDtype;
  shape: number[];
  data: HostData;
}

/** Where a tensor lies in a file. */
export interface TensorEntry {
  dtype: SafetensorsDtype;
  shape: number[];
  /** First byte and the byte after the last, counted from the end of the header. */
  begin: number;
  end: number;
}

/** What the header of a safetensors file says. */
export interface SafetensorsHeader {
  tensors: Map<string, TensorEntry>;
  metadata: Record<string, string>;
  /** Offset of the first tensor's bytes in the file. */
  dataOffset: number;
}

/** A file is not what it claims to be. */
export class FormatError extends DitMoeError {
  static override readonly code: string = 'E_FORMAT';
  constructor(where: string, problem: string, options?: ErrorOptions) {
    super(`${where}: ${problem}`, options);
  }
}

/**
 * The header's length from the first 8 bytes of a file.
 * @throws FormatError if the file is too short or the length impossible
 */
export function headerLength(prefix: Uint8Array, fileSize: number, where: string): number {
  if (fileSize < 8 || prefix.length < 8)
    throw new FormatError(where, `not a safetensors file: it has ${fileSize} bytes, fewer than the 8 of the header length.`);
  const length = new DataView(prefix.buffer, prefix.byteOffset).getBigUint64(0, true);
  if (length > BigInt(MAX_HEADER_BYTES))
    throw new FormatError(
      where,
      `not a safetensors file: its header claims ${length} bytes, more than the format's limit of ${MAX_HEADER_BYTES}.`,
    );
  if (Number(length) > fileSize - 8)
    throw new FormatError(where, `truncated or damaged: its header claims ${length} bytes, the file has ${fileSize}. Fetch it again.`);
  return Number(length);
}

/**
 * Parses and checks the header.
 * @param json the header's bytes, without the length
 * @throws FormatError for anything that the format forbids: bad JSON, unknown dtypes, gaps, overlaps, sizes that do not fit
 */
export function parseHeader(json: Uint8Array, fileSize: number, where: string): SafetensorsHeader {
  let header: unknown;
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(json);
    header = JSON.parse(text);
  } catch (cause) {
    throw new FormatError(where, `its header is not JSON (${(cause as Error).message}).`, { cause });
  }
  // The format asks for `{` as the first byte, so no white space before it.
  if (typeof header !== 'object' || header === null || Array.isArray(header) || text[0] !== '{')
    throw new FormatError(where, 'its header is not a JSON object.');
  const duplicate = duplicateKey(text);
  if (duplicate !== undefined) throw new FormatError(where, `its header has the key ${shown(duplicate)} twice.`);
  const dataOffset = 8 + json.length;
  const tensors = new Map<string, TensorEntry>();
  let metadata: Record<string, string> = {};
  for (const [name, value] of Object.entries(header)) {
    if (name === '__metadata__') metadata = parseMetadata(value, where);
    else tensors.set(name, parseEntry(name, value, where));
  }
  let position = 0;
  for (const [name, entry] of [...tensors].sort((a, b) => a[1].begin - b[1].begin || a[1].end - b[1].end)) {
    if (entry.begin !== position)
      throw new FormatError(where, `the bytes of "${name}" begin at ${entry.begin}, expected ${position}: tensors overlap or leave a gap.`);
    position = entry.end;
  }
  if (dataOffset + position !== fileSize)
    throw new FormatError(
      where,
      `expected ${dataOffset + position} bytes for its tensors, found ${fileSize}: truncated, or with bytes added.`,
    );
  return { tensors, metadata, dataOffset };
}

function parseMetadata(value: unknown, where: string): Record<string, string> {
  if (typeof value !== 'object' || value === null || Array.isArray(value) || Object.values(value).some((text) => typeof text !== 'string'))
    throw new FormatError(where, '__metadata__ must map names to strings.');
  return value as Record<string, string>;
}

function parseEntry(name: string, value: unknown, where: string): TensorEntry {
  const { dtype, shape, data_offsets: offsets } = (typeof value === 'object' && value !== null ? value : {}) as Record<string, unknown>;
  const isSize = (n: unknown): n is number => Number.isSafeInteger(n) && (n as number) >= 0;
  if (typeof dtype !== 'string' || !Object.hasOwn(safetensorsDtypes, dtype))
    throw new FormatError(where, `"${name}" has data type ${shown(dtype)}; supported are ${Object.keys(safetensorsDtypes).join(', ')}.`);
  if (!Array.isArray(shape) || !shape.every(isSize)) throw new FormatError(where, `"${name}" has no valid shape: ${shown(shape)}.`);
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isSize) || offsets[1] < offsets[0])
    throw new FormatError(where, `"${name}" has no valid data_offsets: ${shown(offsets)}.`);
  const [begin, end] = offsets as [number, number];
  const bytes = shape.reduce((product: number, n: number) => product * n, 1) * safetensorsDtypes[dtype as SafetensorsDtype];
  if (bytes !== end - begin)
    throw new FormatError(where, `"${name}" [${shape}] ${dtype} takes ${bytes} bytes, but its data_offsets span ${end - begin}.`);
  return { dtype: dtype as SafetensorsDtype, shape, begin, end };
}

/** An untrusted value for an error message: short, and not recursed into. */
function shown(value: unknown): string {
  if (Array.isArray(value))
    return `[${value
      .slice(0, 8)
      .map((n) => (Array.isArray(n) ? '[...]' : shown(n)))
      .join(', ')}${value.length > 8 ? ', ...' : ''}]`;
  if (typeof value === 'object' && value !== null) return '{...}';
  return String(JSON.stringify(value)).slice(0, 200);
}

/** Numbers from little-endian bytes; F16 and BF16 are widened to float32. The result never shares memory with `bytes`. */
export function decodeTensor(bytes: Uint8Array, dtype: SafetensorsDtype): HostData {
  return viewTensor(new Uint8Array(bytes), dtype);
}

/** As {@link decodeTensor}, but without a copy where alignment and type allow: for bytes that nobody else uses. */
export function viewTensor(bytes: Uint8Array, dtype: SafetensorsDtype): HostData {
  const size = safetensorsDtypes[dtype];
  const { buffer, byteOffset } = bytes.byteOffset % size === 0 ? bytes : new Uint8Array(bytes);
  const length = bytes.length / size;
  switch (dtype) {
    case 'F64':
      return new Float64Array(buffer, byteOffset, length);
    case 'F32':
      return new Float32Array(buffer, byteOffset, length);
    case 'I64':
      return new BigInt64Array(buffer, byteOffset, length);
    case 'I32':
      return new Int32Array(buffer, byteOffset, length);
    case 'I16':
      return new Int16Array(buffer, byteOffset, length);
    case 'I8':
      return new Int8Array(buffer, byteOffset, length);
    case 'U8':
    case 'BOOL':
      return new Uint8Array(buffer, byteOffset, length);
    case 'BF16':
      return widenBfloat16(new Uint16Array(buffer, byteOffset, length));
    case 'F16':
      return widenFloat16(new Uint16Array(buffer, byteOffset, length));
    case 'U16':
      return new Uint16Array(buffer, byteOffset, length);
    case 'U32':
      return new Uint32Array(buffer, byteOffset, length);
    case 'U64':
      return new BigUint64Array(buffer, byteOffset, length);
    case 'C64':
      return new Float32Array(buffer, byteOffset, 2 * length);
    case 'F8_E4M3':
    case 'F8_E5M2': {
      const table = float8Table(dtype);
      return Float32Array.from(new Uint8Array(buffer, byteOffset, length), (bits) => table[bits]);
    }
  }
}

const arrayTypes: Record<SafetensorsDtype, abstract new () => HostData> = {
  F64: Float64Array,
  F32: Float32Array,
  F16: Float32Array,
  BF16: Float32Array,
  I64: BigInt64Array,
  I32: Int32Array,
  I16: Int16Array,
  I8: Int8Array,
  U8: Uint8Array,
  BOOL: Uint8Array,
  U16: Uint16Array,
  U32: Uint32Array,
  U64: BigUint64Array,
  F8_E4M3: Float32Array,
  F8_E5M2: Float32Array,
  C64: Float32Array,
};

/**
 * Little-endian bytes of numbers, the inverse of {@link decodeTensor}: F16 and BF16 are rounded from float32. The result may
 * share memory with `data`.
 * @throws FormatError if `data` is not of the array type that `decodeTensor` gives for `dtype`, or the type is one of 8 bits
 */
export function encodeTensor(data: HostData, dtype: SafetensorsDtype): Uint8Array {
  if (dtype.startsWith('F8')) throw new FormatError('encodeTensor', `${dtype} is read, not written.`);
  if (!(data instanceof arrayTypes[dtype]))
    throw new FormatError('encodeTensor', `${dtype} is written from a ${arrayTypes[dtype].name}, found a ${data.constructor.name}.`);
  const { buffer, byteOffset, byteLength } =
    dtype === 'F16' ? narrowFloat16(data as Float32Array) : dtype === 'BF16' ? narrowBfloat16(data as Float32Array) : data;
  return new Uint8Array(buffer, byteOffset, byteLength);
}

/** bfloat16 bits as float32. */
export function widenBfloat16(bits: Uint16Array): Float32Array {
  const wide = new Uint32Array(bits.length);
  for (let i = 0; i < bits.length; i++) wide[i] = bits[i] << 16;
  return new Float32Array(wide.buffer);
}

/** The float32 of every number of 8 bits: E4M3 as PyTorch's e4m3fn, without infinities; E5M2 as IEEE. */
function float8Table(dtype: 'F8_E4M3' | 'F8_E5M2'): Float32Array {
  const [bits, bias] = dtype === 'F8_E4M3' ? [3, 7] : [2, 15];
  return Float32Array.from({ length: 256 }, (_, code) => {
    const sign = code & 0x80 ? -1 : 1;
    const exponent = (code & 0x7f) >> bits;
    const fraction = code & (2 ** bits - 1);
    if (dtype === 'F8_E4M3' && (code & 0x7f) === 0x7f) return Number.NaN;
    if (dtype === 'F8_E5M2' && exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
    return sign * (exponent === 0 ? fraction * 2 ** (1 - bias - bits) : (1 + fraction / 2 ** bits) * 2 ** (exponent - bias));
  });
}

let halves: Float32Array | undefined;

/** The float32 of every half precision number, by its bits. */
function halfTable(): Float32Array {
  if (halves !== undefined) return halves;
  halves = new Float32Array(65536);
  for (let bits = 0; bits < 65536; bits++) {
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    if (exponent === 31) halves[bits] = fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
    else halves[bits] = sign * (exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15));
  }
  return halves;
}

/**
 * IEEE half precision bits as float32, by table: latent caches are read at hundreds of megabytes per second.
 * @param out where to put them (default: memory of its own)
 */
export function widenFloat16(bits: Uint16Array, out: Float32Array = new Float32Array(bits.length)): Float32Array {
  const table = halfTable();
  for (let i = 0; i < bits.length; i++) out[i] = table[bits[i]];
  return out;
}

/** float32 as bfloat16 bits, rounded to nearest even. */
export function narrowBfloat16(values: Float32Array): Uint16Array {
  const wide = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const bits = new Uint16Array(values.length);
  for (let i = 0; i < bits.length; i++) {
    const w = wide[i];
    bits[i] = Number.isNaN(values[i]) ? (w >>> 16) | 0x40 : (w + 0x7fff + ((w >>> 16) & 1)) >>> 16;
  }
  return bits;
}

/** float32 as half precision bits, rounded to nearest even. */
export function narrowFloat16(values: Float32Array): Uint16Array {
  const wide = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const bits = new Uint16Array(values.length);
  for (let i = 0; i < bits.length; i++) {
    const w = wide[i];
    const sign = (w >>> 16) & 0x8000;
    const magnitude = w & 0x7fffffff;
    let half: number;
    if (magnitude > 0x7f800000) half = 0x7e00;
    else if (magnitude >= 0x477ff000) half = 0x7c00;
    else if (magnitude < 0x38800000) half = roundHalfEven(Math.abs(values[i]) * 2 ** 24);
    else half = (magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13;
    bits[i] = sign | half;
  }
  return bits;
}

function roundHalfEven(x: number): number {
  const floor = Math.floor(x);
  return x - floor === 0.5 ? floor + (floor & 1) : Math.round(x);
}

/**
 * All tensors of a file in memory, by name.
 * @param where how the file is called in errors
 * @throws FormatError if the file is damaged
 */
export function decodeSafetensors(file: Uint8Array, where = 'safetensors'): Map<string, HostTensor> {
  const length = headerLength(file, file.length, where);
  const { tensors, dataOffset } = parseHeader(file.subarray(8, 8 + length), file.length, where);
  return new Map(
    [...tensors].map(([name, { dtype, shape, begin, end }]) => [
      name,
      { dtype, shape, data: decodeTensor(file.subarray(dataOffset + begin, dataOffset + end), dtype) },
    ]),
  );
}

/** What is written: the bytes must be those of `dtype`. */
export interface TensorBytes {
  name: string;
  dtype: SafetensorsDtype;
  shape: readonly number[];
  bytes: Uint8Array;
}

/**
 * Length and header of a file with these tensors in this order; their bytes follow it. Padded to 8 bytes, so that the data is aligned.
 */
export function encodeHeader(tensors: readonly Omit<TensorBytes, 'bytes'>[], metadata: Readonly<Record<string, string>> = {}): Uint8Array {
  // Without a prototype, so that a tensor may have any name.
  const header: Record<string, unknown> = Object.create(null);
  if (Object.keys(metadata).length > 0) header['__metadata__'] = metadata;
  let position = 0;
  for (const { name, dtype, shape } of tensors) {
    const end = position + shape.reduce((product, n) => product * n, 1) * safetensorsDtypes[dtype];
    header[name] = { dtype, shape, data_offsets: [position, end] };
    position = end;
  }
  const json = new TextEncoder().encode(JSON.stringify(header));
  const padded = Math.ceil(json.length / 8) * 8;
  const bytes = new Uint8Array(8 + padded).fill(0x20);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(padded), true);
  bytes.set(json, 8);
  return bytes;
}

/** A whole file in memory. */
export function encodeSafetensors(tensors: readonly TensorBytes[], metadata: Readonly<Record<string, string>> = {}): Uint8Array {
  const header = encodeHeader(tensors, metadata);
  const file = new Uint8Array(header.length + tensors.reduce((sum, { bytes }) => sum + bytes.length, 0));
  file.set(header);
  let position = header.length;
  for (const { bytes } of tensors) {
    file.set(bytes, position);
    position += bytes.length;
  }
  return file;
}
