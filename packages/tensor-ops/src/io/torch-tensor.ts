/** Tensors of PyTorch files: views into storages, checked against them before anything is read. */
import { FormatError, type HostTensor, type SafetensorsDtype, safetensorsDtypes, viewTensor } from './safetensors.js';

/** Most axes of a tensor: that of PyTorch. */
const MAX_RANK = 64;
/** An expanded tensor (stride 0) may have more bytes than its storage, but not more than this; the largest use seen is a mask. */
export const MAX_EXPANDED_BYTES = 64 * 2 ** 20;

/** A block of memory that tensors share, as a file refers to it. */
export interface TorchStorage {
  readonly key: string;
  /** Bytes. */
  readonly size: number;
  readonly elementBytes: number;
  /** Type of the elements; for untyped storages, that of a byte; undefined if it is one that no model has. */
  readonly dtype: SafetensorsDtype | undefined;
}

/** A tensor of a file, not yet read. */
export class TorchTensor {
  private constructor(
    readonly storage: TorchStorage,
    readonly dtype: SafetensorsDtype,
    /** Elements before the first. */
    readonly offset: number,
    readonly shape: readonly number[],
    /** Elements between neighbours of each axis. */
    readonly strides: readonly number[],
  ) {}

  /**
   * @param where how the file is called in errors
   * @throws FormatError if the values are none of a view, or the view leaves its storage
   */
  static view(
    storage: TorchStorage,
    dtype: SafetensorsDtype,
    offset: unknown,
    shape: unknown,
    strides: unknown,
    where: string,
  ): TorchTensor {
    const areSizes = (list: unknown): list is number[] =>
      Array.isArray(list) && list.length <= MAX_RANK && list.every((n) => Number.isSafeInteger(n) && n >= 0);
    if (!areSizes([offset]) || !areSizes(shape) || !areSizes(strides) || strides.length !== shape.length)
      throw new FormatError(where, `a tensor of the storage "${storage.key}" has an impossible offset, shape or strides.`);
    const count = shape.reduce((product, n) => product * n, 1);
    const last = shape.reduce((sum, n, axis) => sum + (n - 1) * strides[axis], offset as number);
    const bytes = count * safetensorsDtypes[dtype];
    if (count !== 0 && !((last + 1) * safetensorsDtypes[dtype] <= storage.size))
      throw new FormatError(
        where,
        `a tensor [${shape}] with strides [${strides}] and offset ${offset} reaches beyond its storage "${storage.key}" of ${storage.size} bytes.`,
      );
    if (bytes > Math.max(storage.size, MAX_EXPANDED_BYTES) || Number.isNaN(bytes))
      throw new FormatError(where, `a tensor [${shape}] repeats its storage "${storage.key}" of ${storage.size} bytes beyond the limit.`);
    return new TorchTensor(storage, dtype, offset as number, [...shape], [...strides]);
  }

  /** Reads it, of the storage no more than the part that it covers. `read` gives bytes `from` to `to` of the storage. */
  async load(read: (from: number, to: number) => Promise<Uint8Array>): Promise<HostTensor> {
    const { dtype, offset, strides } = this;
    const shape = [...this.shape];
    const size = safetensorsDtypes[dtype];
    const count = shape.reduce((product, n) => product * n, 1);
    if (count === 0) return { dtype, shape, data: viewTensor(new Uint8Array(0), dtype) };
    const span = shape.reduce((sum, n, axis) => sum + (n - 1) * strides[axis], 1);
    const bytes = await read(offset * size, (offset + span) * size);
    return { dtype, shape, data: viewTensor(this.isContiguous ? bytes : gather(bytes, size, count, shape, strides), dtype) };
  }

  /** Whether its elements lie one after another in the usual order. */
  get isContiguous(): boolean {
    let expected = 1;
    for (let axis = this.shape.length - 1; axis >= 0; axis--) {
      if (this.shape[axis] !== 1 && this.strides[axis] !== expected) return false;
      expected *= this.shape[axis];
    }
    return true;
  }
}

/** Elements of `size` bytes in the usual order. */
function gather(bytes: Uint8Array, size: number, count: number, shape: readonly number[], strides: readonly number[]): Uint8Array {
  const out = new Uint8Array(count * size);
  const index = shape.map(() => 0);
  for (let to = 0, from = 0; to < out.length; to += size) {
    for (let b = 0; b < size; b++) out[to + b] = bytes[from * size + b];
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      from += strides[axis];
      if (++index[axis] < shape[axis]) break;
      from -= strides[axis] * shape[axis];
      index[axis] = 0;
    }
  }
  return out;
}
