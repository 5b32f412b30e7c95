/**
 * Writing PyTorch's zip format, so that `torch.load(path, weights_only=True)` opens it: dictionaries, lists, numbers, strings
 * and tensors, each tensor contiguous with a storage of its own. One tensor is in memory at a time.
 */
import { ArgumentError } from '../errors.js';
import { FormatError, safetensorsDtypes } from './safetensors.js';
import { torchDtypes } from './torch-globals.js';
import { type ZipMember, zipChunks } from './zip-writer.js';

/** A tensor to write, whose bytes (little-endian, the usual order) are made when their turn comes. */
export class TorchTensorSource {
  constructor(
    readonly dtype: keyof typeof torchDtypes,
    readonly shape: readonly number[],
    readonly bytes: () => Uint8Array | Promise<Uint8Array>,
  ) {}
}

/** What can be written. A tensor that appears twice is stored once, and is shared when loaded. */
export type TorchWritable =
  | null
  | boolean
  | number
  | bigint
  | string
  | TorchTensorSource
  | readonly TorchWritable[]
  | ReadonlyMap<string | number, TorchWritable>
  | { readonly [key: string]: TorchWritable };

/** PyTorch aligns storages so, for memory mapping. */
const STORAGE_ALIGNMENT = 64;

/** The bytes of a .pt file, in order. */
export function torchChunks(value: TorchWritable): AsyncGenerator<Uint8Array> {
  const storages = new Map<TorchTensorSource, string>();
  const pickle = writePickle(value, storages);
  const small = (name: string, bytes: Uint8Array): ZipMember => ({ name: `archive/${name}`, size: bytes.length, chunks: () => [bytes] });
  const text = new TextEncoder();
  return zipChunks([
    { ...small('data.pkl', pickle), alignment: STORAGE_ALIGNMENT },
    small('byteorder', text.encode('little')),
    ...[...storages].map(([{ dtype, shape, bytes }, key]) => ({
      name: `archive/data/${key}`,
      size: count(shape) * safetensorsDtypes[dtype],
      alignment: STORAGE_ALIGNMENT,
      async *chunks() {
        yield await bytes();
      },
    })),
    small('version', text.encode('3\n')),
  ]);
}

const count = (shape: readonly number[]) => shape.reduce((product, n) => product * n, 1);

/** Protocol 2, without memo: PyTorch's own restricted reader takes it. */
function writePickle(root: TorchWritable, storages: Map<TorchTensorSource, string>): Uint8Array {
  let bytes = new Uint8Array(4096);
  let length = 0;
  const put = (...more: number[]) => putAll(Uint8Array.from(more));
  const putAll = (more: Uint8Array) => {
    if (length + more.length > bytes.length) {
      const larger = new Uint8Array(2 * (length + more.length));
      larger.set(bytes);
      bytes = larger;
    }
    bytes.set(more, length);
    length += more.length;
  };
  const op = (opcode: string) => put(opcode.charCodeAt(0));
  const global = (module: string, name: string) => putAll(new TextEncoder().encode(`c${module}\n${name}\n`));
  const string = (text: string) => {
    const encoded = new TextEncoder().encode(text);
    const header = new Uint8Array(5);
    header[0] = 'X'.charCodeAt(0);
    new DataView(header.buffer).setUint32(1, encoded.length, true);
    putAll(header);
    putAll(encoded);
  };
  const integer = (n: bigint) => {
    const size = Math.floor(n.toString(16).length / 2) + 1;
    if (size > 255) throw new ArgumentError('torchChunks', 'integers below 2^2000', 'a larger one');
    put(0x8a, size);
    for (let i = 0, rest = n; i < size; i++, rest >>= 8n) put(Number(rest & 255n));
  };
  const number = (n: number) => {
    if (Number.isSafeInteger(n) && !Object.is(n, -0)) return integer(BigInt(n));
    const float = new Uint8Array(9);
    float[0] = 'G'.charCodeAt(0);
    new DataView(float.buffer).setFloat64(1, n);
    putAll(float);
  };
  const tuple = (items: readonly number[]) => {
    op('(');
    items.forEach(number);
    op('t');
  };
  const tensor = (source: TorchTensorSource) => {
    const { dtype, shape } = source;
    if (!Object.hasOwn(torchDtypes, dtype)) throw new FormatError('torchChunks', `there is no data type ${dtype}.`);
    const key = storages.get(source) ?? String(storages.size);
    storages.set(source, key);
    global('torch._utils', '_rebuild_tensor_v2');
    op('(');
    op('(');
    string('storage');
    global('torch', torchDtypes[dtype].storage);
    string(key);
    string('cpu');
    number(count(shape));
    op('t');
    op('Q');
    number(0);
    tuple(shape);
    tuple(shape.map((_, axis) => count(shape.slice(axis + 1))));
    put(0x89);
    global('collections', 'OrderedDict');
    op(')');
    op('R');
    op('t');
    op('R');
  };
  const write = (value: TorchWritable): void => {
    if (value === null) op('N');
    else if (typeof value === 'boolean') put(value ? 0x88 : 0x89);
    else if (typeof value === 'number') number(value);
    else if (typeof value === 'bigint') integer(value);
    else if (typeof value === 'string') string(value);
    else if (value instanceof TorchTensorSource) tensor(value);
    else if (Array.isArray(value)) {
      op(']');
      op('(');
      for (const item of value) write(item);
      op('e');
    } else if (value instanceof Map || Object.getPrototypeOf(value) === Object.prototype || Object.getPrototypeOf(value) === null) {
      op('}');
      op('(');
      for (const [key, item] of value instanceof Map ? value : Object.entries(value)) {
        write(key as string | number);
        write(item as TorchWritable);
      }
      op('u');
    } else throw new ArgumentError('torchChunks', 'plain values and tensors', Object.prototype.toString.call(value));
  };
  put(0x80, 2);
  write(root);
  op('.');
  return bytes.subarray(0, length);
}
