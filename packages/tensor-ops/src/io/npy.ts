/**
 * NumPy's .npy format, versions 1 to 3: a short Python dictionary, then the array's bytes.
 *
 * Floats of 2, 4 and 8 bytes, signed integers (in either byte order), bytes and booleans; other types are refused by name.
 * Source: NumPy's numpy/lib/format.py.
 */
import { decodeTensor, encodeTensor, FormatError, type HostTensor, type SafetensorsDtype, safetensorsDtypes } from './safetensors.js';

/** Data types, and NumPy's names for them. */
const descriptions = {
  F64: '<f8',
  F32: '<f4',
  F16: '<f2',
  I64: '<i8',
  I32: '<i4',
  I16: '<i2',
  I8: '|i1',
  U8: '|u1',
  BOOL: '|b1',
} as const satisfies Partial<Record<SafetensorsDtype, string>>;
/** Type of the numbers of a .npy file. */
export type NpyDtype = keyof typeof descriptions;
const dtypes = new Map(Object.entries(descriptions).map(([dtype, description]) => [description.slice(1), dtype as NpyDtype]));

/** Longest header that is read: NumPy's own limit is 10,000 characters. */
const MAX_NPY_HEADER_BYTES = 10_000;
/** Bytes before the header's text, at most. */
const PREFIX_BYTES = 12;
/** First bytes that {@link parseNpyHeader} may need. */
export const NPY_PROBE_BYTES = PREFIX_BYTES + MAX_NPY_HEADER_BYTES;

/** What the header of a .npy file says. */
export interface NpyHeader {
  dtype: NpyDtype;
  shape: number[];
  /** Whether the first axis varies fastest; the readers here turn such arrays into the usual order. */
  fortranOrder: boolean;
  /** Whether the bytes of a number come most significant first. */
  bigEndian: boolean;
  /** Where the array's bytes begin. */
  dataOffset: number;
  /** Bytes of the array. */
  dataBytes: number;
}

/**
 * Parses a header.
 * @param start the file's first {@link NPY_PROBE_BYTES}, or all if it is shorter
 * @throws FormatError if it is not one, or the data type is not supported
 */
export function parseNpyHeader(start: Uint8Array, where: string): NpyHeader {
  const magic = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59];
  if (start.length < PREFIX_BYTES || magic.some((byte, i) => start[i] !== byte)) throw new FormatError(where, 'it is not an .npy file.');
  const version = start[6];
  if (version < 1 || version > 3) throw new FormatError(where, `.npy version ${version} is not known; 1 to 3 are.`);
  const data = new DataView(start.buffer, start.byteOffset);
  const length = version === 1 ? data.getUint16(8, true) : data.getUint32(8, true);
  const textOffset = version === 1 ? 10 : 12;
  if (length > MAX_NPY_HEADER_BYTES || textOffset + length > start.length)
    throw new FormatError(where, `its header claims ${length} bytes: truncated, or more than the limit of ${MAX_NPY_HEADER_BYTES}.`);
  const text = new TextDecoder(version === 3 ? 'utf-8' : 'latin1').decode(start.subarray(textOffset, textOffset + length));
  const match =
    /^\{(?=.*'descr': *'(?<descr>[^']*)')(?=.*'fortran_order': *(?<fortran>True|False))(?=.*'shape': *\((?<shape>[\d, ]*)\))[^{}]*\}\s*$/s.exec(
      text,
    )?.groups;
  if (match === undefined)
    throw new FormatError(where, `its header is not one of a plain array: ${JSON.stringify(text.trim().slice(0, 200))}.`);
  const dtype = dtypes.get(match['descr'].slice(1));
  if (dtype === undefined)
    throw new FormatError(where, `arrays of type '${match['descr']}' are not supported; ${Object.values(descriptions).join(', ')} are.`);
  const shape = match['shape']
    .split(',')
    .map((n) => n.trim())
    .filter((n) => n !== '')
    .map(Number);
  const dataBytes = shape.reduce((product, n) => product * n, 1) * safetensorsDtypes[dtype];
  if (!shape.every(Number.isSafeInteger) || !Number.isSafeInteger(dataBytes))
    throw new FormatError(where, `its shape (${match['shape']}) is impossible.`);
  const bigEndian = match['descr'].startsWith('>');
  return { dtype, shape, fortranOrder: match['fortran'] === 'True', bigEndian, dataOffset: textOffset + length, dataBytes };
}

/** Header of a file with such an array; its bytes, in the usual order, follow. Padded to 64 bytes, as NumPy does. */
export function encodeNpyHeader(dtype: SafetensorsDtype, shape: readonly number[]): Uint8Array {
  if (!(dtype in descriptions)) throw new FormatError('npy', `NumPy has no data type ${dtype}; widen it to F32.`);
  const sizes = shape.length === 1 ? `${shape[0]},` : shape.join(', ');
  const text = `{'descr': '${descriptions[dtype as NpyDtype]}', 'fortran_order': False, 'shape': (${sizes}), }`;
  const length = Math.ceil((10 + text.length + 1) / 64) * 64 - 10;
  const bytes = new Uint8Array(10 + length).fill(0x20);
  bytes.set([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, length & 255, length >> 8]);
  bytes.set(new TextEncoder().encode(text), 10);
  bytes[bytes.length - 1] = 0x0a;
  return bytes;
}

/** The array of a whole file. */
export function decodeNpy(file: Uint8Array, where = 'npy'): HostTensor {
  const header = parseNpyHeader(file.subarray(0, NPY_PROBE_BYTES), where);
  if (header.dataOffset + header.dataBytes !== file.length)
    throw new FormatError(
      where,
      `expected ${header.dataOffset + header.dataBytes} bytes for its shape [${header.shape}], found ${file.length}.`,
    );
  return npyTensor(header, file.subarray(header.dataOffset));
}

/** A whole file. */
export function encodeNpy(tensor: HostTensor): Uint8Array {
  const header = encodeNpyHeader(tensor.dtype, tensor.shape);
  const data = encodeTensor(tensor.data, tensor.dtype);
  const file = new Uint8Array(header.length + data.length);
  file.set(header);
  file.set(data, header.length);
  return file;
}

/** Numbers from their bytes in the file's order. */
export function decodeNpyData({ dtype, bigEndian }: NpyHeader, bytes: Uint8Array): HostTensor['data'] {
  const size = safetensorsDtypes[dtype];
  return decodeTensor(bigEndian && size > 1 ? swapped(bytes, size) : bytes, dtype);
}

function swapped(bytes: Uint8Array, size: number): Uint8Array {
  const out = new Uint8Array(bytes.length);
  for (let at = 0; at < bytes.length; at++) out[at] = bytes[at - (at % size) + size - 1 - (at % size)];
  return out;
}

/** The array from its bytes in the file's order. */
export function npyTensor(header: NpyHeader, bytes: Uint8Array): HostTensor {
  const { dtype, shape, fortranOrder } = header;
  const data = decodeNpyData(header, bytes);
  if (!fortranOrder || shape.length < 2) return { dtype, shape, data };
  const out = data.slice() as typeof data;
  const strides = shape.map((_, axis) => shape.slice(0, axis).reduce((product, n) => product * n, 1));
  const index = shape.map(() => 0);
  for (let to = 0, from = 0; to < out.length; to++) {
    out[to] = data[from];
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      from += strides[axis];
      if (++index[axis] < shape[axis]) break;
      from -= strides[axis] * shape[axis];
      index[axis] = 0;
    }
  }
  return { dtype, shape, data: out };
}
