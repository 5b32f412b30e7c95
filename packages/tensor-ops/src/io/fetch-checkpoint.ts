/** Opening a file of weights by its address, in browsers. */
import { type ByteSource, blobSource } from './byte-source.js';
import type { Checkpoint } from './checkpoint.js';
import { isSafetensors, KIND_BYTES } from './kind-of-file.js';
import { decodeTensor, FormatError, headerLength, parseHeader, type TensorEntry } from './safetensors.js';
import { TorchCheckpoint } from './torch-checkpoint.js';

/** Bytes of a safetensors file's length field. */
const PREFIX = 8;

/**
 * Fetches a safetensors or PyTorch file, told apart by their content. Its tensors are read and decoded when they are asked for: of a file
 * of the reader's own (`blob:`), memory holds one at a time.
 * @throws FormatError if it cannot be fetched or is damaged
 * @throws ForbiddenGlobalError if a PyTorch file asks Python to run anything
 */
export async function fetchCheckpoint(url: string): Promise<Checkpoint> {
  const response = await fetch(url);
  if (!response.ok) throw new FormatError(url, `it cannot be loaded (status ${response.status}).`);
  const source = blobSource(await response.blob(), url);
  const start = await source.read(0, Math.min(KIND_BYTES, source.size));
  return isSafetensors(start, url) ? openSafetensors(source) : TorchCheckpoint.open(source);
}

async function openSafetensors(source: ByteSource): Promise<Checkpoint> {
  const { name: path, size } = source;
  const length = headerLength(await source.read(0, Math.min(PREFIX, size)), size, path);
  const { tensors, metadata, dataOffset } = parseHeader(await source.read(PREFIX, length), size, path);
  const info = (name: string): TensorEntry => {
    const found = tensors.get(name);
    if (found === undefined) throw new FormatError(path, `it has no tensor "${name}".`);
    return found;
  };
  return {
    path,
    format: 'safetensors',
    names: [...tensors.keys()],
    metadata,
    info,
    async read(name) {
      const { dtype, shape, begin, end } = info(name);
      return { dtype, shape, data: decodeTensor(await source.read(dataOffset + begin, end - begin), dtype) };
    },
    close: async () => {},
  };
}
