/** Opening a file of weights by its address, in browsers. */
import type { Checkpoint } from './checkpoint.js';
import { decodeTensor, FormatError, headerLength, parseHeader, type TensorEntry } from './safetensors.js';

/** Bytes of a safetensors file's length field. */
const PREFIX = 8;

/**
 * Fetches a safetensors file whole; its tensors are decoded as they are read.
 * @throws FormatError if it cannot be fetched or is damaged
 */
export async function fetchCheckpoint(url: string): Promise<Checkpoint> {
  const response = await fetch(url);
  if (!response.ok) throw new FormatError(url, `it cannot be loaded (status ${response.status}).`);
  const bytes = new Uint8Array(await response.arrayBuffer());
  const json = bytes.subarray(PREFIX, PREFIX + headerLength(bytes.subarray(0, PREFIX), bytes.length, url));
  const { tensors, metadata, dataOffset } = parseHeader(json, bytes.length, url);
  const info = (name: string): TensorEntry => {
    const found = tensors.get(name);
    if (found === undefined) throw new FormatError(url, `it has no tensor "${name}".`);
    return found;
  };
  return {
    path: url,
    format: 'safetensors',
    names: [...tensors.keys()],
    metadata,
    info,
    async read(name) {
      const { dtype, shape, begin, end } = info(name);
      return { dtype, shape, data: decodeTensor(bytes.slice(dataOffset + begin, dataOffset + end), dtype) };
    },
    close: async () => {},
  };
}
