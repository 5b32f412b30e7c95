/** What TensorFlow's definition of an op says of its arguments: which are lists, and which attributes follow from them. */
import { type ProtobufField, readFields } from '../../io/protobuf.js';
import type { DataType } from '../../tensorflow-backend.js';
import { bufferBytes, type CApi, type Pointer } from '../c-api.js';
import { TensorFlowError } from '../tensorflow-error.js';

/** One input or output of an op, or one list of them. */
export interface OpArg {
  name: string;
  /** Attribute that says how many tensors the list has (`N`), or their types; undefined for a single tensor. */
  list: string | undefined;
  /** Attribute that is the type of the tensor, or of all of the list. */
  type: string | undefined;
  /** Attributes that TensorFlow reads off the tensors given for an input. */
  inferred: readonly string[];
}

export interface OpDef {
  inputs: readonly OpArg[];
  outputs: readonly OpArg[];
  /** Types that attributes have if nothing says otherwise. */
  defaultTypes: Readonly<Record<string, DataType>>;
}

/** What asks TensorFlow. */
interface Asker {
  readonly api: CApi;
  readonly sharedStatus: Pointer;
  check(operation: string): void;
}

const known = new Map<string, OpDef>();

/** The definition of an op. */
export function opDef(binding: Asker, graph: Pointer, op: string): OpDef {
  let definition = known.get(op);
  if (definition === undefined) {
    const { api, sharedStatus } = binding;
    const buffer = api.TF_NewBuffer();
    try {
      api.TF_GraphGetOpDef(graph, op, buffer, sharedStatus);
      binding.check(op);
      definition = readOpDef(bufferBytes(buffer));
    } finally {
      api.TF_DeleteBuffer(buffer);
    }
    known.set(op, definition);
  }
  return definition;
}

/**
 * How many tensors an op may be given.
 * @throws TensorFlowError if it was given another number
 */
export function checkInputs(op: string, { inputs }: Pick<OpDef, 'inputs'>, given: number): void {
  const single = inputs.filter(({ list }) => list === undefined).length;
  const open = single < inputs.length;
  if (given === single || (open && given > single)) return;
  throw new TensorFlowError(op, 3, `expected ${open ? 'at least ' : ''}${single} input${single === 1 ? '' : 's'}, found ${given}`);
}

/** `OpDef`: input_arg 2, output_arg 3, attr 4; tensorflow/core/framework/op_def.proto. */
function readOpDef(bytes: Uint8Array): OpDef {
  const text = ({ start, end }: ProtobufField): string => Buffer.from(bytes.subarray(start, end)).toString();
  const [inputs, outputs]: OpArg[][] = [[], []];
  const defaultTypes: Record<string, DataType> = {};
  for (const part of readFields(bytes, 'OpDef')) {
    if (part.field === 2 || part.field === 3) {
      const parts = new Map([...readFields(bytes, 'OpDef', part)].map((inner) => [inner.field, inner]));
      // name, type_attr, number_attr, type_list_attr.
      const [name, type, count, types] = [1, 4, 5, 6].map((field) => parts.get(field) && text(parts.get(field)!));
      const inferred = [type, count, types].filter((attribute) => attribute !== undefined);
      (part.field === 2 ? inputs : outputs).push({ name: name!, list: count ?? types, type, inferred });
    } else if (part.field === 4) {
      let [name, kind] = ['', ''];
      // Name, type and default value come first; what follows of other kinds may be negative numbers, which are not read.
      for (const inner of readFields(bytes, 'OpDef', part)) {
        if (inner.field === 1) name = text(inner);
        else if (inner.field === 2) kind = text(inner);
        if (inner.field === 2 && kind !== 'type') break;
        if (inner.field !== 3) continue;
        // An AttrValue, whose field 6 is a type.
        for (const value of readFields(bytes, 'OpDef', inner)) if (value.field === 6) defaultTypes[name] = value.value as DataType;
        break;
      }
    }
  }
  return { inputs, outputs, defaultTypes };
}
