/**
 * Reading PyTorch's files (.pt, .pth, .bin, .ckpt), the zip form of PyTorch 1.6 on and the stream before it, without executing
 * anything.
 *
 * Opening reads the pickle (names, shapes, plain values) and checks every tensor against its storage and every storage against
 * the file; tensors are read one at a time. Checksums are not compared, as PyTorch can be told to leave them out.
 * Formats: torch/serialization.py, docs/source/notes/serialization.rst of PyTorch. Not read: the tar form of PyTorch 0.1.9 and
 * older, TorchScript archives, files written on big-endian machines.
 */
import type { ByteSource } from './byte-source.js';
import { ForbiddenGlobalError, MAX_PICKLE_BYTES, type PickleRules, PickleTruncatedError, readPickle } from './pickle.js';
import { FormatError, type HostTensor } from './safetensors.js';
import { torchGlobal, torchStorage } from './torch-globals.js';
import type { TorchStorage, TorchTensor } from './torch-tensor.js';
import { ZipArchive } from './zip-reader.js';

type ReadStorage = (from: number, to: number) => Promise<Uint8Array>;

/** An opened PyTorch file. */
export class TorchFile {
  private constructor(
    readonly name: string,
    /**
     * What the file holds: dictionaries as Map, lists and tuples as arrays, tensors as {@link TorchTensor}, options as
     * `PickleObject`s. Lists and dictionaries may contain themselves.
     */
    readonly value: unknown,
    private readonly storages: ReadonlyMap<string, ReadStorage>,
  ) {}

  /**
   * @throws FormatError if the file is damaged or not one of PyTorch's
   * @throws ForbiddenGlobalError if it asks for anything that is not allowed
   */
  static async open(source: ByteSource): Promise<TorchFile> {
    const references = new Map<string, TorchStorage>();
    const rules: PickleRules = {
      global: torchGlobal,
      persistent(id, where) {
        const storage = torchStorage(id, where);
        const known = references.get(storage.key);
        if (known !== undefined && (known.size !== storage.size || known.dtype !== storage.dtype))
          throw new FormatError(where, `the storage "${storage.key}" is referred to with two sizes or types.`);
        if (known === undefined) references.set(storage.key, storage);
        return known ?? storage;
      },
    };
    const start = await source.read(0, Math.min(source.size, 512));
    if (start.length === 0) throw new FormatError(source.name, 'the file is empty.');
    const opened = isZip(start) ? await openZip(source, rules, references) : await openLegacy(source, start, rules, references);
    return new TorchFile(source.name, opened.value, opened.storages);
  }

  /** Reads one tensor of {@link value}, in the usual order whatever its strides. */
  read(tensor: TorchTensor): Promise<HostTensor> {
    const storage = this.storages.get(tensor.storage.key);
    if (storage === undefined) throw new FormatError(this.name, 'the tensor is not one of this file.');
    return tensor.load(storage);
  }
}

/** Whether a file begins as a zip archive. */
export function isZip(start: Uint8Array): boolean {
  return start[0] === 0x50 && start[1] === 0x4b && start[2] === 3 && start[3] === 4;
}

interface Opened {
  value: unknown;
  storages: Map<string, ReadStorage>;
}

async function openZip(source: ByteSource, rules: PickleRules, references: ReadonlyMap<string, TorchStorage>): Promise<Opened> {
  const archive = await ZipArchive.open(source);
  const pickles = [...archive.entries.keys()].filter((name) => /^[^/]+\/data\.pkl$/.test(name));
  if (pickles.length !== 1)
    throw new FormatError(source.name, `a zip archive with ${pickles.length} members "*/data.pkl": not a file that torch.save wrote.`);
  const folder = pickles[0].slice(0, -'data.pkl'.length);
  if (archive.entries.has(`${folder}constants.pkl`))
    throw new FormatError(source.name, 'it is a TorchScript program, not a checkpoint: save its state_dict() with torch.save.');
  const order = archive.entries.get(`${folder}byteorder`);
  if (order !== undefined && (order.size !== 6 || new TextDecoder().decode(await archive.range(order, 0, 6)) !== 'little'))
    throw new FormatError(source.name, 'it was written on a big-endian machine: save it again on a little-endian one.');
  const entry = archive.entry(pickles[0]);
  if (entry.size > MAX_PICKLE_BYTES)
    throw new FormatError(source.name, `its data.pkl has ${entry.size} bytes, more than the limit of ${MAX_PICKLE_BYTES}.`);
  const bytes = await archive.range(entry, 0, entry.size);
  const { value } = readPickle(bytes, 0, `${source.name}:${entry.name}`, rules);
  const storages = new Map<string, ReadStorage>();
  for (const { key, size } of references.values()) {
    const record = archive.entries.get(`${folder}data/${key}`);
    if (record?.size !== size)
      throw new FormatError(
        source.name,
        record === undefined
          ? `the storage "${key}" of some tensor is missing.`
          : `the storage "${key}" has ${record.size} bytes, its tensors need ${size}.`,
      );
    storages.set(key, (from, to) => archive.range(record, from, to));
  }
  return { value, storages };
}

/** First pickle of a legacy file, and the second. */
const LEGACY_MAGIC = 0x1950a86a20f9469cfc6cn;
const LEGACY_PROTOCOL = 1001;
/** Bytes read at first; most files' pickles fit. */
const LEGACY_WINDOW_BYTES = 2 ** 20;

/** Magic number, protocol, system, the object, keys of the storages (a pickle each); then each storage with its length before it. */
async function openLegacy(
  source: ByteSource,
  start: Uint8Array,
  rules: PickleRules,
  references: Map<string, TorchStorage>,
): Promise<Opened> {
  if (new TextDecoder('latin1').decode(start.subarray(257, 262)) === 'ustar')
    throw new FormatError(source.name, 'it is a tar file, as PyTorch 0.1.9 and older wrote; load and save it with PyTorch.');
  let window = Math.min(source.size, LEGACY_WINDOW_BYTES);
  for (;;) {
    try {
      references.clear();
      const { value, keys, end } = readLegacyPickles(await source.read(0, window), source.name, rules);
      return { value, storages: await legacyStorages(source, keys, end, references) };
    } catch (error) {
      // How long a pickle is shows only when reading it.
      if (!(error instanceof PickleTruncatedError) || window >= Math.min(source.size, MAX_PICKLE_BYTES)) throw error;
      window = Math.min(source.size, MAX_PICKLE_BYTES, 4 * window);
    }
  }
}

function readLegacyPickles(bytes: Uint8Array, where: string, rules: PickleRules): { value: unknown; keys: unknown; end: number } {
  let end = 0;
  const next = () => {
    const read = readPickle(bytes, end, where, rules);
    end = read.end;
    return read.value;
  };
  let magic: unknown;
  try {
    magic = next();
  } catch (error) {
    if (error instanceof ForbiddenGlobalError) throw error;
  }
  if (magic !== LEGACY_MAGIC || next() !== LEGACY_PROTOCOL)
    throw new FormatError(where, 'it is not a PyTorch file: neither a zip archive nor the stream that older versions wrote.');
  const system = next();
  if (!(system instanceof Map) || system.get('little_endian') !== true)
    throw new FormatError(where, 'it was not written on a little-endian machine, or is damaged.');
  const value = next();
  return { value, keys: next(), end };
}

async function legacyStorages(
  source: ByteSource,
  keys: unknown,
  start: number,
  references: ReadonlyMap<string, TorchStorage>,
): Promise<Map<string, ReadStorage>> {
  const storages = new Map<string, ReadStorage>();
  let position = start;
  for (const key of Array.isArray(keys) ? keys : []) {
    const storage = references.get(key);
    if (storage === undefined || storages.has(key)) throw new FormatError(source.name, 'its list of storages is damaged.');
    const count = new DataView((await source.read(position, 8)).buffer).getBigInt64(0, true);
    const at = position + 8;
    position = at + storage.size;
    if (count * BigInt(storage.elementBytes) !== BigInt(storage.size) || position > source.size)
      throw new FormatError(
        source.name,
        `the storage "${key}" at byte ${at} holds ${count} elements, or the file ends before: truncated or damaged.`,
      );
    storages.set(key, (from, to) => source.read(at + from, to - from));
  }
  for (const key of references.keys())
    if (!storages.has(key)) throw new FormatError(source.name, `the storage "${key}" of some tensor is missing.`);
  if (position !== source.size) throw new FormatError(source.name, `it has ${source.size - position} bytes after its last storage.`);
  return storages;
}
