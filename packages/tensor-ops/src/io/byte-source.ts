/** Random access to bytes, wherever they are: the readers of zip, npz and PyTorch files need no more, and run in a browser too. */
import { FormatError } from './safetensors.js';

/** Something with a size whose parts can be read: bytes in memory, an open file (`FileSource` of `io/node`), a `Blob`, ... */
export interface ByteSource {
  /** How errors call it, for example its path. */
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /**
   * Exactly the bytes from `position` to `position + length`, in a buffer of their own that the caller may keep and change.
   * @throws FormatError if the source ends before
   */
  read(position: number, length: number): Promise<Uint8Array>;
}

/** A source of bytes that are in memory. */
export const memorySource = (bytes: Uint8Array, name = 'bytes'): ByteSource =>
  slicedSource(name, bytes.length, async (begin, end) => Uint8Array.prototype.slice.call(bytes, begin, end));

/** A source of a file that the reader of a web page has, or that was fetched; its bytes stay where the browser keeps them. */
export const blobSource = (blob: Blob, name: string): ByteSource =>
  slicedSource(name, blob.size, async (begin, end) => new Uint8Array(await blob.slice(begin, end).arrayBuffer()));

/** @param slice a copy of the bytes from `begin` to `end`, both inside */
function slicedSource(name: string, size: number, slice: (begin: number, end: number) => Promise<Uint8Array>): ByteSource {
  return {
    name,
    size,
    async read(position, length) {
      const end = position + length;
      if (position < 0 || length < 0 || end > size) throw new FormatError(name, `it ends at byte ${size}, before byte ${end}: truncated.`);
      return slice(position, end);
    },
  };
}

/** All bytes of some chunks, one after another. */
export async function concatenate(chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of chunks) {
    parts.push(chunk);
    length += chunk.length;
  }
  if (parts.length === 1) return parts[0];
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
