/**
 * Constants of a frozen TensorFlow graph (`classify_image_graph_def.pb`, from `inception-2015-12-05.tgz`), without TensorFlow:
 * GraphDef, NodeDef, AttrValue and TensorProto, of which only offsets are kept; a tensor is read when it is asked for.
 *
 * Field numbers: tensorflow/core/framework/{graph,node_def,attr_value,tensor,tensor_shape}.proto.
 */
import { type ByteSource, FormatError, type ProtobufField, readField, readFields } from '@dit-moe/tensor-ops/io';

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

/**
 * The float32 constants of a graph by node name.
 * @throws FormatError if the bytes are no GraphDef, are truncated, or a length is impossible
 */
export async function graphConstants(source: ByteSource): Promise<Map<string, GraphConstant>> {
  const constants = new Map<string, GraphConstant>();
  let nodes = 0;
  for (let at = 0; at < source.size; ) {
    const head = await source.read(at, Math.min(HEAD_BYTES, source.size - at));
    const field = readField(head, 0, source.name, at);
    const start = at + field.start;
    const end = at + field.end;
    if (end > source.size)
      throw new FormatError(source.name, `byte ${at}: a field of ${end - start} bytes goes beyond the end: truncated.`);
    if (field.field === 1) {
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

const text = (bytes: Uint8Array, { start, end }: ProtobufField): string => new TextDecoder().decode(bytes.subarray(start, end));

function parseNode(bytes: Uint8Array, where: string, base: number): (GraphConstant & { name: string }) | undefined {
  const fields = (of?: ProtobufField) => readFields(bytes, where, of, base);
  let [name, op] = ['', ''];
  let tensor: ProtobufField | undefined;
  for (const field of fields()) {
    if (field.field === 1) name = text(bytes, field);
    else if (field.field === 2) op = text(bytes, field);
    else if (field.field === 5) {
      const [key, value] = [...fields(field)];
      if (key?.field !== 1 || value?.field !== 2 || text(bytes, key) !== 'value') continue;
      tensor = [...fields(value)].find(({ field }) => field === 8);
    }
  }
  if (op !== 'Const' || tensor === undefined) return undefined;
  let type = 0;
  let content: ProtobufField | undefined;
  const shape: number[] = [];
  for (const field of fields(tensor)) {
    if (field.field === 1) type = field.value;
    // Raw bytes, or packed float_val: little-endian floats both.
    else if (field.field === 4 || (field.field === 5 && field.end - field.start > 4)) content = field;
    else if (field.field === 2)
      for (const dim of fields(field)) if (dim.field === 2) shape.push([...fields(dim)].find(({ field }) => field === 1)?.value ?? 0);
  }
  if (type !== FLOAT || content === undefined) return undefined;
  const length = content.end - content.start;
  if (shape.reduce((a, b) => a * b, 1) * 4 !== length)
    throw new FormatError(where, `constant "${name}" has ${length} bytes for its shape [${shape}].`);
  return { name, shape, offset: base + content.start, length };
}
