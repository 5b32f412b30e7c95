/** The enum values that tfjs-node's kernels ask their binding for. */
import { DataType } from '../tensorflow-backend.js';

/** `TF_AttrType` (tensorflow/c/tf_attrtype.h). */
export const Attr = { string: 0, int: 1, float: 2, bool: 3, type: 4, shape: 5, resource: 9 } as const;

/** Ids of tensors that exist in a recording only begin here. */
export const FIRST_SYMBOLIC_ID = 2 ** 40;

/** Base of everything that stands in for tfjs-node's native binding. */
export class BindingConstants {
  readonly TF_FLOAT = DataType.float32;
  readonly TF_INT32 = DataType.int32;
  readonly TF_INT64 = DataType.int64;
  readonly TF_BOOL = DataType.bool;
  readonly TF_COMPLEX64 = DataType.complex64;
  readonly TF_STRING = DataType.string;
  readonly TF_RESOURCE = DataType.resource;
  readonly TF_UINT8 = DataType.uint8;
  readonly TF_ATTR_STRING = Attr.string;
  readonly TF_ATTR_INT = Attr.int;
  readonly TF_ATTR_FLOAT = Attr.float;
  readonly TF_ATTR_BOOL = Attr.bool;
  readonly TF_ATTR_TYPE = Attr.type;
  readonly TF_ATTR_SHAPE = Attr.shape;
  readonly TF_ATTR_RESOURCE = Attr.resource;
}
