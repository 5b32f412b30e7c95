/**
 * Constants of a frozen TensorFlow graph (`classify_image_graph_def.pb`, from `inception-2015-12-05.tgz`), without TensorFlow:
 * a protobuf reader for GraphDef, NodeDef, AttrValue and TensorProto that keeps offsets and reads a tensor when it is asked for.
 *
 * Field numbers: tensorflow/core/framework/{graph,node_def,attr_value,tensor,tensor_shape}.proto.
 */
import { type ByteSource, FormatError } from '@dit-moe/tensor-ops/io';

/** Longest node that is read, far above the largest constant of the graph (8 MB); a longer one is not the graph's. */
const MAX_NODE_BYTES = 64 * 2 ** 20;
const MAX_NODES = 100_000;
/** A field's number and length take at most this. */
const HEAD_BYTES = 16;

const FLOAT = 1;

/** A float32 constant: its shape and where its values lie in the file. */
export interface GraphConstant {
  shape: readonly number[];
  offset: number;
  /** Bytes. */
  length: number;
}

/** A field of a message; `value` is a number or the bytes from `start` to `end`. */
interface Field {
  number: number;
  value: number;
  start: number;
  end: number;
}

/**
 * The float32 constants of a graph by node name.
 * @throws FormatError if the bytes are no GraphDef, are truncated, or a length is impossible
 */
export async function graphConstants(source: ByteSource): Promise<Map<string, GraphConstant>> {
  const constants = new Map<string, GraphConstant>();
  let nodes = 0;
  for (let at = 0; at < source.size; ) {
    const head = await source.read(at, Math.min(HEAD_BYTES, source.size - at));
    const [field] = fields(head, source.name, at, true);
    const start = at + field.start;
    const end = at + field.end;
    if (end > source.size)
      throw new FormatError(source.name, `byte ${at}: a field of ${end - start} bytes goes beyond the end: truncated.`);
    if (field.number === 1) {
      if (end - start > MAX_NODE_BYTES || ++nodes > MAX_NODES)
        throw new FormatError(
          source.name,
          `byte ${at}: node ${nodes} has ${end - start} bytes; the limits are ${MAX_NODES} nodes of ${MAX_NODE_BYTES} bytes.`,
        );
      const constant = parseNode(await source.read(start, end - start), source.name, start);
      if (constant !== undefined) constants.set(constant.name, constant);
    }
    at = end;
  }
  if (constants.size === 0) throw new FormatError(source.name, 'it has no float32 constants: not a frozen TensorFlow graph.');
  return constants;
}

/** Values of a constant. */
export async function readConstant(source: ByteSource, { offset, length }: GraphConstant): Promise<Float32Array> {
  const bytes = await source.read(offset, length);
  return new Float32Array(bytes.buffer, bytes.byteOffset, length / 4);
}

const text = (bytes: Uint8Array, { start, end }: Field): string => new TextDecoder().decode(bytes.subarray(start, end));

function parseNode(bytes: Uint8Array, where: string, base: number): (GraphConstant & { name: string }) | undefined {
  let [name, op] = ['', ''];
  let tensor: Field | undefined;
  for (const field of fields(bytes, where, base)) {
    if (field.number === 1) name = text(bytes, field);
    else if (field.number === 2) op = text(bytes, field);
    else if (field.number === 5) {
      const attribute = bytes.subarray(0, field.end);
      const [key, value] = [...fields(attribute, where, base, false, field.start)];
      if (key?.number !== 1 || value?.number !== 2 || text(bytes, key) !== 'value') continue;
      tensor = [...fields(bytes.subarray(0, value.end), where, base, false, value.start)].find(({ number }) => number === 8);
    }
  }
  if (op !== 'Const' || tensor === undefined) return undefined;
  let type = 0;
  let content: Field | undefined;
  const shape: number[] = [];
  for (const field of fields(bytes.subarray(0, tensor.end), where, base, false, tensor.start)) {
    if (field.number === 1) type = field.value;
    // Raw bytes, or packed float_val: little-endian floats both.
    else if (field.number === 4 || (field.number === 5 && field.end - field.start > 4)) content = field;
    else if (field.number === 2)
      for (const dim of fields(bytes.subarray(0, field.end), where, base, false, field.start))
        if (dim.number === 2)
          shape.push([...fields(bytes.subarray(0, dim.end), where, base, false, dim.start)].find(({ number }) => number === 1)?.value ?? 0);
  }
  if (type !== FLOAT || content === undefined) return undefined;
  const length = content.end - content.start;
  if (shape.reduce((a, b) => a * b, 1) * 4 !== length)
    throw new FormatError(where, `constant "${name}" has ${length} bytes for its shape [${shape}].`);
  return { name, shape, offset: base + content.start, length };
}

/**
 * The fields of a message from `at` to the end of `bytes`.
 * @param headOnly only the first field's number and extent, which may lie beyond the end
 */
function* fields(bytes: Uint8Array, where: string, base: number, headOnly = false, at = 0): Generator<Field> {
  const broken = (position: number): FormatError =>
    new FormatError(where, `byte ${base + position}: not a protobuf field; this is no frozen TensorFlow graph, or a damaged one.`);
  const varint = (): number => {
    let value = 0;
    for (let shift = 1; ; shift *= 128) {
      const byte = bytes[at];
      if (byte === undefined || shift > 2 ** 49) throw broken(at);
      at++;
      value += (byte & 0x7f) * shift;
      if (byte < 0x80) return value;
    }
  };
  while (at < bytes.length) {
    const begin = at;
    const tag = varint();
    const number = Math.floor(tag / 8);
    const wire = tag % 8;
    if (number === 0) throw broken(begin);
    let [value, start, end] = [0, at, at];
    if (wire === 0) value = varint();
    else if (wire === 1) at += 8;
    else if (wire === 5) at += 4;
    else if (wire === 2) {
      const length = varint();
      start = at;
      at += length;
    } else throw broken(begin);
    end = at;
    if (!headOnly && at > bytes.length) throw broken(begin);
    yield { number, value, start, end };
    if (headOnly) return;
  }
}
