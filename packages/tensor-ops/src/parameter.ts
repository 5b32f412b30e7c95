/**
 * Parameters: named tensors that a step reads and assigns in place (weights, optimizer moments, averages, counters).
 *
 * On the TensorFlow runtime each is a resource variable, so a compiled step updates it without copies and without passing it
 * in and out; elsewhere it holds a tfjs tensor.
 */
import * as tf from '@tensorflow/tfjs-core';
import { ArgumentError, ShapeError } from './errors.js';
import { DataType, type TensorFlowBackend, tensorFlowBackend } from './tensorflow-backend.js';

/** How the values of a parameter are stored. */
export type ParameterDtype = 'float32' | 'int32' | 'bfloat16' | 'int8';

let nextVariable = 0;

/** A named, mutable tensor. */
export class Parameter {
  readonly name: string;
  readonly shape: readonly number[];
  /** Storage type; `bfloat16` and `int8` are kept as float32 on backends without them. */
  readonly dtype: ParameterDtype;
  /** Handle of the TensorFlow resource variable for raw ops such as `ResourceApplyAdam`; `undefined` on other backends. */
  readonly resource: tf.Tensor | undefined;
  private value: tf.Tensor | undefined;
  private readonly backend: TensorFlowBackend | undefined;

  /**
   * @param name unique within its store, such as `blocks.0.attn.qkv.weight`
   * @param initial first value, not disposed; or a shape alone: then it has neither value nor memory until one is assigned
   * @param dtype storage type (default: that of `initial`, float32 for a shape)
   */
  constructor(name: string, initial: tf.Tensor | readonly number[], dtype?: ParameterDtype) {
    const first = initial instanceof tf.Tensor ? initial : undefined;
    this.name = name;
    this.shape = (first?.shape ?? (initial as readonly number[])).slice();
    this.dtype = dtype ?? (first?.dtype as ParameterDtype | undefined) ?? 'float32';
    this.backend = tensorFlowBackend();
    if (this.backend !== undefined)
      this.resource = tf.keep(
        this.backend.raw('VarHandleOp', [], {
          dtype: { type: DataType[this.dtype] },
          shape: { shape: this.shape },
          // TensorFlow names it in its error when the variable is read before it has a value.
          shared_name: { string: `${name}#${nextVariable++}` },
          container: { string: '' },
        })[0],
      );
    if (first !== undefined) this.assign(first);
  }

  /** A parameter whose first value is made by `initial` and disposed. */
  static create(name: string, initial: () => tf.Tensor): Parameter {
    const value = tf.tidy(initial);
    try {
      return new Parameter(name, value);
    } finally {
      value.dispose();
    }
  }

  /**
   * The current value; bfloat16 and int8 storage on the TensorFlow runtime come as raw tensors. The caller disposes it.
   * @throws ArgumentError (TensorFlowError on the TensorFlow runtime) if it has none yet
   */
  read(): tf.Tensor {
    if (this.backend === undefined) {
      if (this.value === undefined) throw new ArgumentError(`Parameter ${this.name}`, 'a value assigned before it is read', 'none');
      return tf.clone(this.value);
    }
    return this.backend.raw('ReadVariableOp', [this.resource!], { dtype: { type: DataType[this.dtype] } })[0];
  }

  /**
   * Replaces the value. `next` may be float32 for bfloat16 storage (it is rounded); it is not disposed.
   * @throws ShapeError if the shape differs
   */
  assign(next: tf.Tensor): void {
    if (!tf.util.arraysEqual(next.shape, this.shape as number[]))
      throw new ShapeError(`Parameter ${this.name}`, `[${this.shape}]`, next.shape);
    if (this.backend === undefined) {
      const old = this.value;
      this.value = tf.keep(tf.clone(next));
      old?.dispose();
      return;
    }
    const backend = this.backend;
    const type = DataType[this.dtype];
    tf.tidy(() => {
      const stored = backend.dtypeOf(next) === type ? next : backend.raw('Cast', [next], { DstT: { type } })[0];
      backend.raw('AssignVariableOp', [this.resource!, stored], { dtype: { type } }, 0);
    });
  }

  /** Sets every element to `value`, on the device. */
  fill(value: number): void {
    tf.tidy(() => this.assign(tf.fill(this.shape as number[], value, this.dtype === 'int32' ? 'int32' : 'float32')));
  }

  /**
   * Adds `delta` in place; it is not disposed.
   * @throws ShapeError if the shape differs
   */
  add(delta: tf.Tensor): void {
    if (!tf.util.arraysEqual(delta.shape, this.shape as number[]))
      throw new ShapeError(`Parameter ${this.name}`, `[${this.shape}]`, delta.shape);
    if (this.backend === undefined) tf.tidy(() => this.assign(tf.add(this.read(), delta)));
    else this.backend.raw('AssignAddVariableOp', [this.resource!, delta], { dtype: { type: DataType[this.dtype] } }, 0);
  }

  /**
   * Adds `values` `[N]` in place at int32 `indices` `[N]` of a vector; equal indices add up, in no fixed order on a GPU.
   * @throws ShapeError if the parameter is no vector
   */
  addAt(indices: tf.Tensor, values: tf.Tensor): void {
    if (this.shape.length !== 1) throw new ShapeError(`Parameter ${this.name}`, 'a vector', this.shape);
    if (this.backend !== undefined) this.backend.raw('ResourceScatterAdd', [this.resource!, indices, values], {}, 0);
    else tf.tidy(() => this.add(tf.scatterND(tf.expandDims(indices, 1), values, [this.shape[0]])));
  }

  /** Copies the value to the host as float32 or int32. */
  async data(): Promise<Float32Array | Int32Array> {
    const value = tf.tidy(() => {
      const raw = this.read();
      const type = { bfloat16: DataType.float32, int8: DataType.int32 }[this.dtype as string];
      return this.backend !== undefined && type !== undefined ? this.backend.raw('Cast', [raw], { DstT: { type } })[0] : raw;
    });
    try {
      return (await value.data()) as Float32Array | Int32Array;
    } finally {
      value.dispose();
    }
  }

  /** Frees the value; there is none again until one is assigned. */
  clear(): void {
    if (this.resource !== undefined && !this.resource.isDisposed && !this.backend!.stopped)
      this.backend!.raw('DestroyResourceOp', [this.resource], { ignore_lookup_error: { bool: true } }, 0);
    this.value?.dispose();
    this.value = undefined;
  }

  /** Frees the storage. */
  dispose(): void {
    this.clear();
    this.resource?.dispose();
  }
}
