/**
 * Parameters: named tensors that a step reads and assigns in place (weights, optimizer moments, averages, counters).
 *
 * On the TensorFlow runtime each is a resource variable, so a compiled step updates it without copies and without passing it
 * in and out; elsewhere it holds a tfjs tensor.
 */
import * as tf from '@tensorflow/tfjs-core';
import { ShapeError } from './errors.js';
import { DataType, type TensorFlowBackend, tensorFlowBackend } from './tensorflow-backend.js';

export type ParameterDtype = 'float32' | 'int32' | 'bfloat16';

let nextVariable = 0;

/** A named, mutable tensor. */
export class Parameter {
  readonly name: string;
  readonly shape: readonly number[];
  /** Storage type; `bfloat16` is kept as float32 on backends without it. */
  readonly dtype: ParameterDtype;
  /** Handle of the TensorFlow resource variable for raw ops such as `ResourceApplyAdam`; `undefined` on other backends. */
  readonly resource: tf.Tensor | undefined;
  private value: tf.Tensor | undefined;
  private readonly backend: TensorFlowBackend | undefined;

  /**
   * @param name unique within its store, such as `blocks.0.attn.qkv.weight`
   * @param initial first value; not disposed
   * @param dtype storage type (default: that of `initial`)
   */
  constructor(name: string, initial: tf.Tensor, dtype: ParameterDtype = initial.dtype as ParameterDtype) {
    this.name = name;
    this.shape = initial.shape.slice();
    this.dtype = dtype;
    this.backend = tensorFlowBackend();
    if (this.backend === undefined) {
      this.value = tf.keep(tf.clone(initial));
      return;
    }
    this.resource = tf.keep(
      this.backend.raw('VarHandleOp', [], {
        dtype: { type: DataType[dtype] },
        shape: { shape: this.shape },
        shared_name: { string: `dit-moe-parameter-${nextVariable++}` },
        container: { string: '' },
      })[0],
    );
    this.assign(initial);
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

  /** The current value; bfloat16 storage on the TensorFlow runtime comes as a raw bfloat16 tensor. The caller disposes it. */
  read(): tf.Tensor {
    if (this.backend === undefined) return tf.clone(this.value!);
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

  /**
   * Adds `delta` in place; it is not disposed.
   * @throws ShapeError if the shape differs
   */
  add(delta: tf.Tensor): void {
    if (!tf.util.arraysEqual(delta.shape, this.shape as number[]))
      throw new ShapeError(`Parameter ${this.name}`, `[${this.shape}]`, delta.shape);
    if (this.backend === undefined) tf.tidy(() => this.assign(tf.add(this.value!, delta)));
    else this.backend.raw('AssignAddVariableOp', [this.resource!, delta], { dtype: { type: DataType[this.dtype] } }, 0);
  }

  /** Copies the value to the host as float32 or int32. */
  async data(): Promise<Float32Array | Int32Array> {
    const value = tf.tidy(() => {
      const raw = this.read();
      return this.backend !== undefined && this.dtype === 'bfloat16'
        ? this.backend.raw('Cast', [raw], { DstT: { type: DataType.float32 } })[0]
        : raw;
    });
    try {
      return (await value.data()) as Float32Array | Int32Array;
    } finally {
      value.dispose();
    }
  }

  /** Frees the storage. */
  dispose(): void {
    if (this.resource !== undefined && !this.resource.isDisposed) {
      if (!this.backend!.stopped) this.backend!.raw('DestroyResourceOp', [this.resource], { ignore_lookup_error: { bool: true } }, 0);
      this.resource.dispose();
    }
    this.value?.dispose();
    this.value = undefined;
  }
}
