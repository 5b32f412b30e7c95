/**
 * The names that PyTorch checkpoints may use, and what each means here. Everything else is refused.
 *
 * The list is that of PyTorch's restricted reader (torch/_weights_only_unpickler.py) as far as checkpoints of this family need
 * it, and `argparse.Namespace`, a plain record that training scripts store their options in (PyTorch itself refuses it).
 */
import { PickleGlobal, PickleObject } from './pickle.js';
import { FormatError, type SafetensorsDtype, safetensorsDtypes } from './safetensors.js';
import { type TorchStorage, TorchTensor } from './torch-tensor.js';

/** PyTorch's storage classes and data types. */
export const torchDtypes = {
  F64: { storage: 'DoubleStorage', dtype: 'float64' },
  F32: { storage: 'FloatStorage', dtype: 'float32' },
  F16: { storage: 'HalfStorage', dtype: 'float16' },
  BF16: { storage: 'BFloat16Storage', dtype: 'bfloat16' },
  I64: { storage: 'LongStorage', dtype: 'int64' },
  I32: { storage: 'IntStorage', dtype: 'int32' },
  I16: { storage: 'ShortStorage', dtype: 'int16' },
  I8: { storage: 'CharStorage', dtype: 'int8' },
  U8: { storage: 'ByteStorage', dtype: 'uint8' },
  BOOL: { storage: 'BoolStorage', dtype: 'bool' },
  C64: { storage: 'ComplexFloatStorage', dtype: 'complex64' },
} as const satisfies Partial<Record<SafetensorsDtype, { storage: string; dtype: string }>>;

/** Data types without a storage class of their own: their tensors are views of bytes. */
const untyped = {
  U16: 'uint16',
  U32: 'uint32',
  U64: 'uint64',
  F8_E4M3: 'float8_e4m3fn',
  F8_E5M2: 'float8_e5m2',
} as const satisfies Partial<Record<SafetensorsDtype, string>>;

/** Storages of types that no model has, and the bytes of an element: what is made of them lies beside the weights. */
const otherStorages: ReadonlyMap<string, number> = new Map([
  ['torch.ComplexDoubleStorage', 16],
  ['torch.QInt8Storage', 1],
  ['torch.QUInt8Storage', 1],
  ['torch.QInt32Storage', 4],
  ['torch.QUInt4x2Storage', 1],
  ['torch.QUInt2x4Storage', 1],
]);

const dtypeOf = new Map<string, SafetensorsDtype>();
for (const [dtype, name] of Object.entries(untyped) as [SafetensorsDtype, string][]) dtypeOf.set(`torch.${name}`, dtype);
for (const [dtype, names] of Object.entries(torchDtypes) as [SafetensorsDtype, { storage: string; dtype: string }][])
  for (const name of Object.values(names)) dtypeOf.set(`torch.${name}`, dtype);
dtypeOf.set('torch.storage.UntypedStorage', 'U8').set('torch.UntypedStorage', 'U8');

const fail = (where: string, name: string): never => {
  throw new FormatError(where, `the pickle calls ${name} with arguments that it does not take.`);
};
const isStorage = (value: unknown): value is TorchStorage =>
  typeof value === 'object' && value !== null && 'key' in value && 'size' in value;

function rebuildTensor(name: string, dtypeAt?: number) {
  return new PickleGlobal(name, (args, where) => {
    const [storage, offset, shape, strides] = args;
    const dtype = dtypeAt === undefined ? undefined : args[dtypeAt];
    if (!isStorage(storage)) return fail(where, name);
    if (storage.dtype === undefined) return new PickleObject('torch.Tensor', []);
    if (dtypeAt === undefined) return TorchTensor.view(storage, storage.dtype, offset, shape, strides, where);
    const known = dtype instanceof PickleGlobal ? dtypeOf.get(dtype.name) : undefined;
    return known === undefined ? fail(where, name) : TorchTensor.view(storage, known, offset, shape, strides, where);
  });
}

/** A parameter is its tensor. */
const parameter = (name: string) => new PickleGlobal(name, ([data], where) => (data instanceof TorchTensor ? data : fail(where, name)));

/** Dictionaries: empty, of a dictionary, or of a list of pairs (as Python 2 wrote them). */
const dictionary = (name: string) =>
  new PickleGlobal(name, ([items], where) => {
    if (items === undefined) return new Map();
    if (items instanceof Map) return new Map(items);
    if (!Array.isArray(items) || !items.every((item) => Array.isArray(item) && item.length === 2)) return fail(where, name);
    return new Map(items as [unknown, unknown][]);
  });

/** Something that only has its first argument, or its name, to say. */
const first = (name: string) => new PickleGlobal(name, ([value]) => value ?? null);

function latin1(name: string) {
  return new PickleGlobal(name, ([text, encoding], where) => {
    if (typeof text !== 'string' || encoding !== 'latin1') return fail(where, name);
    return Uint8Array.from(text, (c) => (c.charCodeAt(0) < 256 ? c.charCodeAt(0) : fail(where, name)));
  });
}

const table = new Map<string, PickleGlobal>();
for (const global of [
  rebuildTensor('torch._utils._rebuild_tensor'),
  rebuildTensor('torch._utils._rebuild_tensor_v2'),
  rebuildTensor('torch._utils._rebuild_tensor_v3', 6),
  parameter('torch._utils._rebuild_parameter'),
  parameter('torch._utils._rebuild_parameter_with_state'),
  parameter('torch.nn.parameter.Parameter'),
  dictionary('collections.OrderedDict'),
  dictionary('collections.Counter'),
  new PickleGlobal('collections.defaultdict', () => new Map()),
  new PickleGlobal('collections.deque', ([items]) => (Array.isArray(items) ? [...items] : [])),
  first('torch.Size'),
  first('torch.device'),
  ...['builtins', '__builtin__'].map(
    (module) =>
      new PickleGlobal(`${module}.set`, ([items], where) =>
        items === undefined ? new Set() : Array.isArray(items) ? new Set(items) : fail(where, 'set'),
      ),
  ),
  latin1('_codecs.encode'),
  new PickleGlobal('argparse.Namespace', (args) => new PickleObject('argparse.Namespace', args)),
])
  table.set(global.name, global);
for (const name of [...dtypeOf.keys(), ...otherStorages.keys()]) table.set(name, new PickleGlobal(name));

/**
 * Modules whose objects lie beside the weights in files of training scripts, such as best metrics, paths, dates, options and callbacks. They
 * become {@link PickleObject}s, which hold data and do nothing; nothing that is needed is in them.
 */
const BESIDE = new Set([
  // Classes of the script that was run, such as its options.
  '__main__',
  'numpy',
  'pathlib',
  'datetime',
  'decimal',
  'fractions',
  'uuid',
  'yacs',
  'omegaconf',
  'ml_collections',
  'easydict',
  'lightning',
  'diffusers',
  'timm',
  'torchvision',
  'pytorch_lightning',
  'transformers',
]);
const BESIDE_NAMES = new Set([
  ...['types.SimpleNamespace', 'torch.torch_version.TorchVersion'],
  ...['torch._utils._rebuild_sparse_tensor', 'torch.serialization._get_layout', 'torch._utils._rebuild_qtensor'],
  ...['torch.per_tensor_affine', 'torch.per_channel_affine', 'torch.per_channel_affine_float_qparams'],
  ...['torch.complex128', 'torch.qint8', 'torch.quint8', 'torch.qint32'],
  // Types of values: none of them does anything.
  ...['builtins', '__builtin__'].flatMap((module) =>
    'bool bytearray bytes complex dict float frozenset int list range slice str tuple xrange'.split(' ').map((type) => `${module}.${type}`),
  ),
]);

/** What a name of a checkpoint means, or undefined if it is not allowed. */
export function torchGlobal(name: string): PickleGlobal | undefined {
  return (
    table.get(name) ??
    (BESIDE_NAMES.has(name) || BESIDE.has(name.split('.')[0]) || /^torch\.(optim|nn\.modules)\./.test(name) ? inert(name) : undefined)
  );
}

/** A name whose instances hold data and do nothing. */
const inert = (name: string): PickleGlobal => new PickleGlobal(name, (args) => new PickleObject(name, args));

/**
 * The storage that a persistent id refers to: `('storage', class, key, location, elements)`, with a sixth item in the legacy
 * format.
 */
export function torchStorage(id: unknown, where: string): TorchStorage {
  const [tag, type, key, , count, viewMetadata = null] = Array.isArray(id) ? id : [];
  const dtype = type instanceof PickleGlobal ? dtypeOf.get(type.name) : undefined;
  const elementBytes = dtype === undefined ? type instanceof PickleGlobal && otherStorages.get(type.name) : safetensorsDtypes[dtype];
  if (tag !== 'storage' || !elementBytes || typeof key !== 'string' || !Number.isSafeInteger(count) || count < 0)
    throw new FormatError(where, 'a reference to a storage is damaged.');
  if (viewMetadata !== null) throw new FormatError(where, 'views of storages, written before PyTorch 0.4, are not supported.');
  const size = count * elementBytes;
  if (!Number.isSafeInteger(size)) throw new FormatError(where, `the storage "${key}" claims the impossible size of ${count} elements.`);
  return { key, size, elementBytes, dtype };
}
