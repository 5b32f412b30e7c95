/** A `TF_Graph` that is built op by op; its shape functions say what each op returns. */
import type { OpAttribute } from '../../tensorflow-backend.js';
import type { TensorFlowBinding } from '../binding.js';
import type { GraphOutput, Pointer } from '../c-api.js';
import { attrValue } from '../protobuf.js';
import { checkInputs, type OpDef, opDef } from './op-def.js';

/** Sizes as TensorFlow knows them: -1 where one depends on data, undefined where not even the rank is known. */
export type Dims = readonly number[] | undefined;

/** Whether a shape depends on data. */
export const isOpen = (dims: Dims): boolean => dims === undefined || dims.includes(-1);

export class Graph {
  readonly pointer: Pointer;
  private next = 0;
  private freed = false;

  constructor(private readonly binding: TensorFlowBinding) {
    this.pointer = binding.api.TF_NewGraph();
  }

  /**
   * Adds an op.
   * @param inputs lists flattened
   * @param control operations that run before it
   * @returns the operation
   * @throws TensorFlowError if the op does not take these inputs
   */
  add(
    op: string,
    inputs: readonly GraphOutput[],
    attributes: Readonly<Record<string, OpAttribute>>,
    control: readonly Pointer[] = [],
  ): Pointer {
    const { binding, pointer } = this;
    const { api, sharedStatus } = binding;
    const definition = this.definition(op);
    checkInputs(op, definition, inputs.length);
    const description = api.TF_NewOperation(pointer, op, `n${this.next++}`);
    const inferred = new Set<string>();
    if (inputs.length > 0) {
      let at = 0;
      for (const arg of definition.inputs) {
        for (const name of arg.inferred) inferred.add(name);
        if (arg.list === undefined) {
          api.TF_AddInput(description, inputs[at++]);
          continue;
        }
        const given = attributes[arg.list];
        const count = given === undefined ? inputs.length - at : 'int' in given ? given.int : 'types' in given ? given.types.length : 0;
        api.TF_AddInputList(description, outputList(inputs.slice(at, at + count)), count);
        at += count;
      }
    }
    for (const before of control) api.TF_AddControlInput(description, before);
    for (const key in attributes) {
      // As in eager execution, what the inputs say counts: kernels of tfjs-node ask for float32 whatever is in their tensors.
      if (inferred.has(key)) continue;
      const bytes = attrValue(attributes[key]);
      api.TF_SetAttrValueProto(description, key, bytes, bytes.length, sharedStatus);
      binding.check(op, () => `attribute ${key}`);
    }
    const operation = api.TF_FinishOperation(description, sharedStatus);
    binding.check(op, () => `inputs ${inputs.map((input) => `[${this.dims(input)}]`).join(' ')}`);
    return operation;
  }

  /** TensorFlow's definition of an op. */
  definition(op: string): OpDef {
    return opDef(this.binding, this.pointer, op);
  }

  /** The shape of a result. */
  dims(output: GraphOutput): Dims {
    const { api, sharedStatus } = this.binding;
    const rank = api.TF_GraphGetTensorNumDims(this.pointer, output, sharedStatus);
    this.binding.check('TF_GraphGetTensorNumDims');
    if (rank < 0) return undefined;
    if (rank === 0) return [];
    const dims = new BigInt64Array(rank);
    api.TF_GraphGetTensorShape(this.pointer, output, dims, rank, sharedStatus);
    this.binding.check('TF_GraphGetTensorShape');
    return Array.from(dims, Number);
  }

  /** Tells TensorFlow a shape that it cannot infer. */
  setDims(output: GraphOutput, dims: readonly number[]): void {
    const { api, sharedStatus } = this.binding;
    api.TF_GraphSetTensorShape(this.pointer, output, BigInt64Array.from(dims, BigInt), dims.length, sharedStatus);
    this.binding.check('TF_GraphSetTensorShape');
  }

  /** Data type of a result. */
  dtype(output: GraphOutput): number {
    return this.binding.api.TF_OperationOutputType(output);
  }

  /** Frees the graph; functions that were made of it stay. */
  free(): void {
    if (this.freed) return;
    this.freed = true;
    this.binding.api.TF_DeleteGraph(this.pointer);
  }
}

/** `TF_Output[]`: {operation, index}, each in a word. */
export function outputList(outputs: readonly GraphOutput[]): BigUint64Array {
  const words = new BigUint64Array(Math.max(1, outputs.length) * 2);
  outputs.forEach(({ oper, index }, i) => {
    words[2 * i] = BigInt(oper);
    words[2 * i + 1] = BigInt(index);
  });
  return words;
}
