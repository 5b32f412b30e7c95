/**
 * Recording a step: while it is installed in place of the binding, every tensor creation becomes a `Const` node, every op a
 * node, and every tensor that comes from outside an argument. The result is one TensorFlow function.
 *
 * Ops are also executed, because tfjs wants shapes, but the values of large tensors are dropped at once; ops without outputs
 * (assignments, optimizer updates, prints) are recorded only, so recording has no side effect. Reads and writes of one variable keep their program order by control
 * edges, as TensorFlow's own automatic control dependencies do.
 */
import { HostReadError, RecordingError } from '../errors.js';
import { DataType } from '../tensorflow-backend.js';
import type { HostValues, KernelAttribute, Op, TensorFlowBinding, TensorMetadata } from './binding.js';
import { BindingConstants } from './binding-constants.js';
import { attrValue, graphDef, graphNode, nodeAttribute, nodeAttributesOfNameAttrList } from './protobuf.js';

/** Ops that only read the variable they are given. */
const readers = new Set(['ReadVariableOp', 'VariableShape', 'ResourceGather', 'ResourceGatherNd', 'VarIsInitializedOp']);

/** Values of larger tensors are not kept while recording; the small ones are, because shapes may depend on them. */
const KEPT_BYTES = 1 << 20;
const droppable: Readonly<Record<number, number>> = { [DataType.float32]: 4, [DataType.bfloat16]: 2, [DataType.float16]: 2 };

/** An argument of the recorded function. */
export interface Argument {
  /** Name of its placeholder node. */
  node: string;
  /** Index of an explicit input, or the id of a captured tensor (which the recording holds on to). */
  source: { input: number } | { captured: number };
}

export class Recorder extends BindingConstants {
  readonly arguments: Argument[] = [];
  /** Nodes that must run although nothing reads them. */
  readonly controlOutputs: string[] = [];
  private readonly nodes: Uint8Array[] = [];
  private readonly names = new Map<number, string>();
  private readonly lastWrite = new Map<string, string>();
  private readonly readsSinceWrite = new Map<string, string[]>();
  private lastEffect: string | undefined;
  private controlOfNext: string | undefined;
  private next = 0;

  constructor(private readonly binding: TensorFlowBinding) {
    super();
  }

  addInput(id: number, index: number): void {
    this.addArgument(id, { input: index });
  }

  createTensor(shape: number[], dtype: number, values: HostValues): number {
    const id = this.binding.createTensor(shape, dtype, values);
    const type = dtype as DataType;
    const value = attrValue({ tensor: { type, shape, values } });
    const name = this.addNode('Const', [], Buffer.concat([nodeAttribute('dtype', attrValue({ type })), nodeAttribute('value', value)]));
    this.names.set(id, name);
    return id;
  }

  deleteTensor(id: number): void {
    this.binding.deleteTensor(id);
  }

  tensorDataSync(id: number): never {
    throw new HostReadError(`tensor made by node ${this.names.get(id) ?? 'outside of the step'}`);
  }

  executeOp(name: string, attributes: readonly KernelAttribute[], inputs: readonly number[], numOutputs: number): TensorMetadata[] {
    return this.record(name, inputs, numOutputs, attributes, (op) => this.binding.setKernelAttributes(op, name, attributes));
  }

  execute: TensorFlowBinding['execute'] = (name, attributes, inputs, numOutputs) =>
    this.record(name, inputs, numOutputs, attributes, (op) => this.binding.setAttributes(op, name, attributes));

  /** The tensor `id` under a new one, with a control edge from the op that makes `before`. */
  identityAfter(id: number, before: number): TensorMetadata {
    this.controlOfNext = `^${this.nameOf(before).replace(/:\d+$/, '')}`;
    return this.execute('Identity', {}, [id], 1)[0];
  }

  /** Names an output node for each id (an argument may be returned as well). */
  outputNodes(ids: readonly number[]): string[] {
    return ids.map((id) => this.addNode('Identity', [this.nameOf(id)], nodeAttribute('T', attrValue({ type: this.binding.dtype(id) }))));
  }

  graphDef(): Uint8Array {
    return graphDef(this.nodes);
  }

  get numNodes(): number {
    return this.nodes.length;
  }

  /** Lets go of the captured tensors. */
  releaseCaptures(): void {
    for (const { source } of this.arguments) if ('captured' in source) this.binding.deleteTensor(source.captured);
  }

  private record(
    name: string,
    inputs: readonly number[],
    numOutputs: number,
    attributes: unknown,
    setAttributes: (op: Op) => void,
  ): TensorMetadata[] {
    if (name === 'VarHandleOp' || name === 'DestroyResourceOp') {
      throw new RecordingError(
        'A Parameter was created or disposed inside a compiled step. Create parameters before the step, dispose them after it.',
      );
    }
    const { binding } = this;
    const op = binding.newOp(name, inputs);
    try {
      setAttributes(op);
      const encoded = nodeAttributesOfNameAttrList(binding.serializeAttributes(op, name));
      const operands = inputs.map((id) => this.nameOf(id));
      const node = `n${this.next}`;
      const control = this.controlInputs(name, node, inputs, operands, numOutputs);
      this.addNode(name, [...operands, ...control], encoded);
      if (numOutputs === 0) {
        this.controlOutputs.push(node);
        return [];
      }
      const outputs = binding.run(op, name, numOutputs, inputs, attributes);
      outputs.forEach((output, i) => {
        this.names.set(output.id, i === 0 ? node : `${node}:${i}`);
        const bytes = output.shape.reduce((a, b) => a * b, droppable[output.dtype] ?? 0);
        if (bytes > KEPT_BYTES && !binding.isUsingGpuDevice()) binding.dropValues(output);
      });
      return outputs;
    } finally {
      binding.api.TFE_DeleteOp(op);
    }
  }

  private controlInputs(name: string, node: string, inputs: readonly number[], operands: readonly string[], numOutputs: number): string[] {
    const control = new Set<string>();
    if (this.controlOfNext !== undefined) control.add(this.controlOfNext);
    this.controlOfNext = undefined;
    let touchesVariable = false;
    inputs.forEach((id, i) => {
      if (this.binding.dtype(id) !== DataType.resource) return;
      touchesVariable = true;
      const variable = operands[i];
      const write = this.lastWrite.get(variable);
      if (write !== undefined) control.add(`^${write}`);
      const reads = this.readsSinceWrite.get(variable) ?? [];
      if (readers.has(name)) {
        this.readsSinceWrite.set(variable, [...reads, node]);
        return;
      }
      if (numOutputs > 0)
        throw new RecordingError(`${name} changes a variable and returns a tensor; a compiled step cannot hold such an op.`);
      for (const read of reads) control.add(`^${read}`);
      this.readsSinceWrite.set(variable, []);
      this.lastWrite.set(variable, node);
    });
    if (numOutputs === 0 && !touchesVariable) {
      if (this.lastEffect !== undefined) control.add(`^${this.lastEffect}`);
      this.lastEffect = node;
    }
    return [...control];
  }

  private nameOf(id: number): string {
    return this.names.get(id) ?? this.addArgument(id, { captured: this.binding.share(id) });
  }

  private addArgument(id: number, source: Argument['source']): string {
    const type = this.binding.dtype(id);
    const shape = nodeAttribute('shape', attrValue({ shape: this.binding.shape(id) }));
    const node = this.addNode('Placeholder', [], Buffer.concat([nodeAttribute('dtype', attrValue({ type })), shape]));
    this.names.set(id, node);
    this.arguments.push({ node, source });
    return node;
  }

  private addNode(op: string, inputs: readonly string[], attributes: Uint8Array): string {
    const name = `n${this.next++}`;
    this.nodes.push(graphNode(name, op, inputs, attributes));
    return name;
  }
}
