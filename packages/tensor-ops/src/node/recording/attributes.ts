import type { DataType, OpAttribute } from '../../tensorflow-backend.js';
import type { KernelAttribute } from '../binding.js';
import { Attr } from '../binding-constants.js';
import { TensorFlowError } from '../tensorflow-error.js';

/** tfjs-node's form of an attribute in ours. */
export function opAttribute(op: string, { name, type, value }: KernelAttribute): OpAttribute {
  if (value === undefined) throw new TensorFlowError(op, 3, `attribute ${name} has no value`);
  const many = Array.isArray(value);
  switch (type) {
    case Attr.type:
      return many ? { types: value as DataType[] } : { type: value as DataType };
    case Attr.int:
      return many ? { ints: value as number[] } : { int: value as number };
    case Attr.float:
      return many ? { floats: value as number[] } : { float: value as number };
    case Attr.bool:
      return many ? { bools: value as boolean[] } : { bool: value as boolean };
    case Attr.string:
      return many ? { strings: value as string[] } : { string: value as string };
    case Attr.shape:
      return Array.isArray((value as unknown[])[0]) ? { shapes: value as number[][] } : { shape: value as number[] };
    default:
      throw new TensorFlowError(op, 12, `attribute ${name} has the unknown type ${type}`);
  }
}
