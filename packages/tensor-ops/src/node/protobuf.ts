/**
 * The few TensorFlow messages that the runtime builds: AttrValue, TensorProto, ConfigProto. Field numbers are from
 * tensorflow/core/framework/*.proto and tensorflow/core/protobuf/config.proto.
 */
import { bytesField, floatField, integerField, joined } from '../io/protobuf.js';
import type { OpAttribute, TensorValue } from '../tensorflow-backend.js';

const shapeBody = (shape: readonly number[]): Uint8Array => joined(...shape.map((d) => bytesField(2, integerField(1, d))));

/** `TensorProto`: numbers as raw content, strings one by one. */
function tensorBody({ type, shape, values }: TensorValue): Uint8Array {
  const content = ArrayBuffer.isView(values)
    ? [bytesField(4, new Uint8Array(values.buffer, values.byteOffset, values.byteLength))]
    : values.map((value) => bytesField(8, value));
  return joined(integerField(1, type), bytesField(2, shapeBody(shape)), ...content);
}

/** `AttrValue` of one attribute. */
export function attrValue(attribute: OpAttribute): Uint8Array {
  if ('type' in attribute) return integerField(6, attribute.type);
  if ('int' in attribute) return integerField(3, attribute.int);
  if ('float' in attribute) return floatField(4, attribute.float);
  if ('bool' in attribute) return integerField(5, attribute.bool ? 1 : 0);
  if ('string' in attribute) return bytesField(2, attribute.string);
  if ('shape' in attribute) return bytesField(7, shapeBody(attribute.shape));
  if ('tensor' in attribute) return bytesField(8, tensorBody(attribute.tensor));
  if ('func' in attribute) return bytesField(10, bytesField(1, attribute.func));
  const list = (...parts: Uint8Array[]): Uint8Array => bytesField(1, ...parts);
  if ('strings' in attribute) return list(...attribute.strings.map((s) => bytesField(2, s)));
  if ('ints' in attribute) return list(...attribute.ints.map((i) => integerField(3, i)));
  if ('floats' in attribute) return list(...attribute.floats.map((f) => floatField(4, f)));
  if ('bools' in attribute) return list(...attribute.bools.map((b) => integerField(5, b ? 1 : 0)));
  if ('types' in attribute) return list(...attribute.types.map((t) => integerField(6, t)));
  if ('tensors' in attribute) return list(...attribute.tensors.map((t) => bytesField(8, tensorBody(t))));
  if ('funcs' in attribute) return list(...attribute.funcs.map((f) => bytesField(9, bytesField(1, f))));
  return list(...attribute.shapes.map((s) => bytesField(7, shapeBody(s))));
}

/** `ConfigProto` with thread counts (0: TensorFlow's choice) and what is taken of which GPU. */
export function configProto(options: {
  intraOpThreads: number;
  interOpThreads: number;
  gpuMemoryGrowth: boolean;
  /** Mebibytes. */
  gpuMemoryLimit?: number;
  gpu?: number;
}): Uint8Array {
  const { gpu, gpuMemoryLimit } = options;
  const gpuOptions = [
    integerField(4, options.gpuMemoryGrowth ? 1 : 0),
    ...(gpu === undefined ? [] : [bytesField(5, String(gpu))]),
    // The one way to a limit in bytes: the card as one virtual device of that size.
    ...(gpuMemoryLimit === undefined ? [] : [bytesField(9, bytesField(1, floatField(1, gpuMemoryLimit)))]),
  ];
  return joined(integerField(2, options.intraOpThreads), integerField(5, options.interOpThreads), bytesField(6, ...gpuOptions));
}

/** `ConfigProto` of a call whose function TensorFlow rewrites by one of its graph optimisers: `graph_options.rewrite_options.optimizers`. */
export const rewriteConfig = (optimizer: string): Uint8Array => bytesField(10, bytesField(10, bytesField(100, optimizer)));
