/** One interface for weights, whatever file they are in. */
import type { HostTensor, SafetensorsDtype } from './safetensors.js';

/** Type and shape of a tensor. */
export interface TensorInfo {
  dtype: SafetensorsDtype;
  shape: readonly number[];
}

/** Where weights come from: an open checkpoint, or anything that answers alike. */
export interface WeightSource {
  /** Names of the tensors, in the file's order. */
  readonly names: readonly string[];
  /** @throws FormatError if there is no such tensor */
  info(name: string): TensorInfo;
  /** Reads one tensor. */
  read(name: string): Promise<HostTensor>;
}

/** An open checkpoint: names and shapes at hand, tensors read one at a time. */
export interface Checkpoint extends WeightSource {
  /** Where it was opened from. */
  readonly path: string;
  readonly format: 'safetensors' | 'torch' | 'sharded';
  /** Strings stored beside the tensors. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Objects of other programs beside the weights, by place and class; they are not read. */
  readonly objects?: readonly string[];
  close(): Promise<void>;
}
