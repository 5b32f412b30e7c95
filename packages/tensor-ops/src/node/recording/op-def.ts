/** What TensorFlow's definition of an op says of its inputs: which are lists, and which attributes follow from them. */
import { readFields } from '../../io/protobuf.js';
import { bufferBytes, type TensorFlowBinding } from '../binding.js';
import type { Pointer } from '../c-api.js';

/** One input, or one list of inputs, of an op. */
export interface InputArg {
  /** Attribute that says how many tensors the list has (`N`), or their types; undefined for a single tensor. */
  list: string | undefined;
  /** Attributes that TensorFlow reads off the tensors given for it. */
  inferred: readonly string[];
}

const known = new Map<string, readonly InputArg[]>();

/** The inputs of an op, in order. */
export function inputArgs(binding: TensorFlowBinding, graph: Pointer, op: string): readonly InputArg[] {
  let args = known.get(op);
  if (args === undefined) {
    const { api, sharedStatus } = binding;
    const buffer = api.TF_NewBuffer();
    try {
      api.TF_GraphGetOpDef(graph, op, buffer, sharedStatus);
      binding.check(op);
      args = readInputArgs(bufferBytes(buffer));
    } finally {
      api.TF_DeleteBuffer(buffer);
    }
    known.set(op, args);
  }
  return args;
}

/** `OpDef.input_arg` (field 2): `type_attr` (4), `number_attr` (5), `type_list_attr` (6); tensorflow/core/framework/op_def.proto. */
function readInputArgs(bytes: Uint8Array): InputArg[] {
  const args: InputArg[] = [];
  for (const arg of readFields(bytes, 'OpDef')) {
    if (arg.field !== 2) continue;
    let list: string | undefined;
    const inferred: string[] = [];
    for (const { field, start, end } of readFields(bytes, 'OpDef', arg)) {
      if (field < 4 || field > 6) continue;
      const attribute = Buffer.from(bytes.subarray(start, end)).toString();
      inferred.push(attribute);
      if (field !== 4) list = attribute;
    }
    args.push({ list, inferred });
  }
  return args;
}
