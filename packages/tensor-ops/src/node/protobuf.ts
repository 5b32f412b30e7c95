/**
 * A protobuf writer for the few TensorFlow messages that the runtime builds: AttrValue, TensorProto, NodeDef, GraphDef,
 * ConfigProto. Field numbers are from tensorflow/core/framework/*.proto and tensorflow/core/protobuf/config.proto.
 */
import type { OpAttribute, TensorValue } from '../tensorflow-backend.js';

type Bytes = Buffer;

function varint(value: number | bigint): Bytes {
  let rest = BigInt.asUintN(64, BigInt(value));
  const bytes: number[] = [];
  do {
    const low = Number(rest & 0x7fn);
    rest >>= 7n;
    bytes.push(rest === 0n ? low : low | 0x80);
  } while (rest !== 0n);
  return Buffer.from(bytes);
}

const tag = (field: number, wireType: number): Bytes => varint(field * 8 + wireType);
const integer = (field: number, value: number | bigint): Bytes => Buffer.concat([tag(field, 0), varint(value)]);
const float32 = (field: number, value: number): Bytes => {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return Buffer.concat([tag(field, 5), bytes]);
};
const message = (field: number, ...parts: (Uint8Array | string)[]): Bytes => {
  const body = parts.length === 1 ? Buffer.from(parts[0]) : Buffer.concat(parts.map((p) => Buffer.from(p)));
  return Buffer.concat([tag(field, 2), varint(body.length), body]);
};

const shapeBody = (shape: readonly number[]): Bytes => Buffer.concat(shape.map((d) => message(2, integer(1, d))));

/** `TensorProto`: numbers as raw content, strings one by one. */
function tensorBody({ type, shape, values }: TensorValue): Bytes {
  const content = ArrayBuffer.isView(values)
    ? [message(4, Buffer.from(values.buffer, values.byteOffset, values.byteLength))]
    : values.map((value) => message(8, Buffer.from(value)));
  return Buffer.concat([integer(1, type), message(2, shapeBody(shape)), ...content]);
}

/** `AttrValue` of one attribute. */
export function attrValue(attribute: OpAttribute): Bytes {
  if ('type' in attribute) return integer(6, attribute.type);
  if ('int' in attribute) return integer(3, attribute.int);
  if ('float' in attribute) return float32(4, attribute.float);
  if ('bool' in attribute) return integer(5, attribute.bool ? 1 : 0);
  if ('string' in attribute) return message(2, attribute.string);
  if ('shape' in attribute) return message(7, shapeBody(attribute.shape));
  if ('tensor' in attribute) return message(8, tensorBody(attribute.tensor));
  if ('func' in attribute) return message(10, message(1, attribute.func));
  const list = (...parts: Bytes[]): Bytes => message(1, ...parts);
  if ('strings' in attribute) return list(...attribute.strings.map((s) => message(2, s)));
  if ('ints' in attribute) return list(...attribute.ints.map((i) => integer(3, i)));
  if ('floats' in attribute) return list(...attribute.floats.map((f) => float32(4, f)));
  if ('bools' in attribute) return list(...attribute.bools.map((b) => integer(5, b ? 1 : 0)));
  if ('types' in attribute) return list(...attribute.types.map((t) => integer(6, t)));
  if ('tensors' in attribute) return list(...attribute.tensors.map((t) => message(8, tensorBody(t))));
  if ('funcs' in attribute) return list(...attribute.funcs.map((f) => message(9, message(1, f))));
  return list(...attribute.shapes.map((s) => message(7, shapeBody(s))));
}

/** An entry of `NodeDef.attr`. */
export function nodeAttribute(name: string, value: Bytes): Bytes {
  return message(5, message(1, name), message(2, value));
}

/** A `GraphDef.node` entry. `attributes` are encoded `NodeDef.attr` entries. */
export function graphNode(name: string, op: string, inputs: readonly string[], attributes: Bytes, device = ''): Bytes {
  return message(
    1,
    message(1, name),
    message(2, op),
    ...inputs.map((i) => message(3, i)),
    ...(device === '' ? [] : [message(4, device)]),
    attributes,
  );
}

/** The producer version of the graphs that we write; any recent one will do, this is TensorFlow 2.16's. */
const GRAPH_PRODUCER_VERSION = 1882;

/** A whole `GraphDef`. */
export function graphDef(nodes: readonly Bytes[]): Bytes {
  return Buffer.concat([...nodes, message(4, integer(1, GRAPH_PRODUCER_VERSION))]);
}

/** `ConfigProto` with thread counts (0: TensorFlow's choice) and GPU memory growth. */
export function configProto(options: { intraOpThreads: number; interOpThreads: number; gpuMemoryGrowth: boolean }): Bytes {
  return Buffer.concat([
    integer(2, options.intraOpThreads),
    integer(5, options.interOpThreads),
    message(6, integer(4, options.gpuMemoryGrowth ? 1 : 0)),
  ]);
}

/** `ConfigProto` of a call whose function TensorFlow rewrites by one of its graph optimisers: `graph_options.rewrite_options.optimizers`. */
export const rewriteConfig = (optimizer: string): Bytes => message(10, message(10, message(100, optimizer)));

/**
 * Turns a serialized `NameAttrList` (what `TFE_OpAttrsSerialize` returns: name = 1, map attr = 2) into `NodeDef.attr` entries
 * (field 5); map entries have the same encoding in both.
 */
export function nodeAttributesOfNameAttrList(bytes: Uint8Array): Bytes {
  const parts: Bytes[] = [];
  let at = 0;
  const readVarint = (): number => {
    let result = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[at++];
      result += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return result;
    }
  };
  while (at < bytes.length) {
    const key = readVarint();
    const length = readVarint();
    if (key === 2 * 8 + 2) parts.push(message(5, Buffer.from(bytes.subarray(at, at + length))));
    at += length;
  }
  return Buffer.concat(parts);
}
