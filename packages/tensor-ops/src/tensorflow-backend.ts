/**
 * The seam between portable code and the TensorFlow runtime of `@dit-moe/tensor-ops/node`.
 *
 * Libraries never import a backend. They ask for the current one here and, if it is the TensorFlow runtime, may call any
 * registered TensorFlow op by name. The test is by duck-typing, so a second copy of this package works as well.
 */
import * as tf from '@tensorflow/tfjs-core';

/** TensorFlow's `DataType` enum, as far as it is used here (tensorflow/core/framework/types.proto). */
export const DataType = {
  float32: 1,
  float64: 2,
  int32: 3,
  uint8: 4,
  int8: 6,
  string: 7,
  complex64: 8,
  int64: 9,
  bool: 10,
  qint8: 11,
  bfloat16: 14,
  float16: 19,
  resource: 20,
  uint32: 22,
  uint64: 23,
} as const;
export type DataType = (typeof DataType)[keyof typeof DataType];

/**
 * One attribute of a TensorFlow op. Attributes that TensorFlow infers from single-tensor inputs can be left out; those of list
 * inputs (`N` and `T` of ConcatV2, Pack, Einsum, ...) cannot.
 */
export type OpAttribute =
  | { type: DataType }
  | { int: number }
  | { float: number }
  | { bool: boolean }
  | { string: string | Uint8Array }
  | { shape: readonly number[] }
  | { tensor: TensorValue }
  | { func: string }
  | { types: readonly DataType[] }
  | { ints: readonly number[] }
  | { floats: readonly number[] }
  | { bools: readonly boolean[] }
  | { strings: readonly string[] }
  | { shapes: readonly (readonly number[])[] }
  | { tensors: readonly TensorValue[] }
  | { funcs: readonly string[] };

/** A tensor inside an attribute: its values as TensorFlow lays them out in memory, or one byte string each. */
export interface TensorValue {
  type: DataType;
  shape: readonly number[];
  values: ArrayBufferView | readonly Uint8Array[];
}

/** What a step that is compiled by a backend offers. */
export interface BackendStep {
  /** The name of its function in TensorFlow, for `func` attributes (of `StatelessCase`, `While`, ...). */
  readonly functionName: string;
  run(inputs: readonly tf.Tensor[]): Promise<tf.Tensor[]>;
  runSync(inputs: readonly tf.Tensor[]): tf.Tensor[];
  dispose(): void;
}

/** A chain of elementwise ops on tensors of one shape. */
export type ElementwiseChain = (...inputs: tf.Tensor[]) => tf.Tensor[];

/** How a runtime computes, as far as results depend on it. */
export interface Computes {
  /** TensorFlow's version. */
  version: string;
  /** What products asked for as f32 are computed in; sums are float32 in any case. */
  f32: 'float32' | 'TF32';
  /** The same of products asked for as bf16. */
  bf16: 'bfloat16' | 'float32';
  /** Whether every kernel gives the same bits in every run. */
  deterministic: boolean;
  /** Name of the GPU, if it computes on one. */
  gpu?: string;
}

/** What the TensorFlow runtime adds to tfjs' `KernelBackend`. */
export interface TensorFlowBackend {
  /**
   * Runs one TensorFlow op, off the gradient tape. Outputs of type bfloat16 or float16 carry the tfjs label `float32`; they
   * may only be passed to further `raw` calls (see `dtypeOf`), and must be cast back before they leave an op of ours.
   * Resources carry the label `string`.
   *
   * @param op name of a registered op, such as `MatMul`
   * @param inputs tensors in the order of the op's definition, lists flattened
   * @param attributes only what TensorFlow cannot infer
   * @param numOutputs number of outputs of the op (default 1)
   */
  raw(op: string, inputs: readonly tf.Tensor[], attributes?: Readonly<Record<string, OpAttribute>>, numOutputs?: number): tf.Tensor[];
  /** TensorFlow's real data type of a tensor, also of one labelled `float32` that holds bfloat16. */
  dtypeOf(x: tf.Tensor): DataType;
  /** Records `step` once for these inputs and returns it as one TensorFlow function. */
  compileStep(
    step: (...inputs: tf.Tensor[]) => tf.Tensor[],
    inputs: readonly tf.Tensor[],
    options: { name: string; xla?: boolean; rewrite?: boolean },
  ): BackendStep;
  /** `compute(...inputs)`, inside a compiled step as one kernel; see `fused`. */
  fused(compute: ElementwiseChain, inputs: readonly tf.Tensor[]): tf.Tensor[];
  /** Whether the runtime was shut down: its tensors are gone. */
  readonly stopped: boolean;
  /** Whether a step is being recorded now. */
  readonly recording: boolean;
  /**
   * Says that a small tensor whose values depend on data, such as the loads of experts, holds the sizes of parts of `whole`. While a step
   * is recorded, shapes that follow from it have examples of such sizes in tfjs and in plans; the recorded step works for all values.
   */
  suggestParts(sizes: tf.Tensor, whole: number): void;
  /** `x` for ops that must not run before `before` is there; only while recording, see `after`. */
  identityAfter(x: tf.Tensor, before: tf.Tensor): tf.Tensor;
  /**
   * Whether `precision: 'bf16'` multiplies in bfloat16. Chosen at the start: on processors that are slower in bfloat16 than in
   * float32 such products are computed in float32, which is more exact as well.
   */
  bf16Products: boolean;
  /** Whether the processor has instructions for products in int8; see `int8Refusal`. */
  readonly int8Products: boolean;
  /** How it computes, as chosen at its start. */
  readonly computes: Computes;
  /** Whether the runtime computes on a GPU. */
  isUsingGpuDevice: boolean;
}

/** The current tfjs backend if it is the TensorFlow runtime, else `undefined`. */
export function tensorFlowBackend(): TensorFlowBackend | undefined {
  const backend = tf.backend() as unknown as Partial<TensorFlowBackend>;
  return typeof backend.raw === 'function' && typeof backend.compileStep === 'function' ? (backend as TensorFlowBackend) : undefined;
}
