/** A tensor of a step that is being recorded: an output of the graph, with a data type and shapes, without values or memory. */
import type { OpAttribute, TensorValue } from '../../tensorflow-backend.js';
import type { GraphOutput } from '../c-api.js';
import type { Dims } from './graph.js';

/** A recorded op. */
export interface RecordedNode {
  op: string;
  inputs: readonly { node: number; index: number }[];
  /** Nodes that run before it although it takes nothing of them. */
  control: readonly number[];
  attributes: Readonly<Record<string, OpAttribute>>;
  outputs: readonly RecordedOutput[];
  /** Of a placeholder: whether the caller gives it with each call, or the step took it from outside. */
  argument?: 'input' | 'captured';
}

/** What an op returns. */
export interface RecordedOutput {
  dtype: number;
  /** What TensorFlow knows of the shape. */
  dims: Dims;
  /** A full shape, an example where `dims` is open. */
  shape: readonly number[];
}

export interface SymbolicTensor extends RecordedOutput {
  id: number;
  /** Number of the node that makes it. */
  node: number;
  output: GraphOutput;
  /** Values, if it is a small constant. */
  constant?: TensorValue;
  /** Its counterpart in the graph of examples, once one was needed. */
  twin?: GraphOutput;
  /** Whether its shape or its values are examples. */
  isExample: boolean;
}
