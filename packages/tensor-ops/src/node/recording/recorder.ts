/**
 * Recording a step without running it. While it is installed in place of the binding, every op goes into a `TF_Graph`, whose own shape
 * functions say what it returns; every tensor creation becomes a `Const`, and every tensor that comes from outside an argument. Nothing is
 * computed and nothing allocated, so a step of any size can be recorded and planned, on every device.
 *
 * Reads and writes of one variable keep their program order by control edges, as TensorFlow's own automatic control dependencies do, and
 * so do collectives: NCCL launches them in the order in which they start, which must be the same on all ranks. A write also waits for what
 * computes with the values that were read before it: while one of them holds these, TensorFlow would write into a copy of the variable.
 */
import { HostReadError, RecordingError } from '../../errors.js';
import { DataType, type OpAttribute } from '../../tensorflow-backend.js';
import type { HostValues, KernelAttribute, TensorFlowBinding, TensorMetadata, Variable } from '../binding.js';
import { BindingConstants, FIRST_SYMBOLIC_ID } from '../binding-constants.js';
import type { GraphOutput, Pointer } from '../c-api.js';
import { TensorFlowError } from '../tensorflow-error.js';
import { opAttribute } from './attributes.js';
import { type Example, Examples, SMALL } from './examples.js';
import { type Dims, Graph, isOpen } from './graph.js';
import type { RecordedNode, RecordedOutput, SymbolicTensor } from './symbolic-tensor.js';

/** Ops that only read the variable they are given. */
const readers = new Set(['ReadVariableOp', 'VariableShape', 'ResourceGather', 'ResourceGatherNd', 'VarIsInitializedOp']);

/** Ops whose results may share the memory of their input. */
const views = new Set(['Identity', 'Reshape', 'ExpandDims', 'Squeeze', 'Unpack', 'Split', 'SplitV']);

/** Never used twice, so that a tensor which outlives its recording is not taken for another. */
let nextId = FIRST_SYMBOLIC_ID;

/** An argument of the recorded function. */
export interface Argument {
  /** Its placeholder. */
  operation: Pointer;
  /** Index of an explicit input, or the id of a captured tensor (which the recording holds on to). */
  source: { input: number } | { captured: number };
}

/** What functions that were recorded before return, by their names: shape functions do not look into them. */
export type FunctionOutputs = Map<string, readonly RecordedOutput[]>;

export class Recorder extends BindingConstants {
  readonly nodes: RecordedNode[] = [];
  readonly arguments: Argument[] = [];
  /** Operations that must run although nothing reads them. */
  readonly controlOutputs: Pointer[] = [];
  readonly graph: Graph;
  private readonly examples: Examples;
  private readonly operations: Pointer[] = [];
  private readonly tensors = new Map<number, SymbolicTensor>();
  private readonly argumentOf = new Map<number, SymbolicTensor>();
  private readonly lastWrite = new Map<number, number>();
  private readonly readsSinceWrite = new Map<number, number[]>();
  /** By node, those that take its results. */
  private readonly consumers: number[][] = [];
  /** Nodes that run for a write at the latest: it may wait for them without making anything run that nobody needs. */
  private readonly needed = new Set<number>();
  private lastEffect: number | undefined;
  private lastCollective: number | undefined;
  private controlOfNext: number | undefined;

  /**
   * @param functions of this runtime
   * @param maxOverMean see `Examples`
   * @param outer the recording around this one, when a kernel is recorded inside a step
   * @param declares whether parameters may be made
   */
  constructor(
    private readonly binding: TensorFlowBinding,
    private readonly functions: FunctionOutputs,
    maxOverMean: number,
    private readonly outer?: Recorder,
    private readonly declares = false,
  ) {
    super();
    this.graph = new Graph(binding);
    this.examples = new Examples(binding, maxOverMean);
  }

  addInput(id: number, index: number): void {
    this.addArgument(id, { input: index });
  }

  /** An input that no tensor stands for. */
  placeholder(dtype: DataType, shape: readonly number[]): TensorMetadata {
    const node = this.addNode('Placeholder', [], { dtype: { type: dtype }, shape: { shape } }, [], 'input');
    return { id: this.result(node, 0, { dtype, dims: shape, shape }).id, shape: shape.slice(), dtype };
  }

  createTensor(shape: number[], dtype: number, values: HostValues): number {
    const tensor = { type: dtype as DataType, shape: shape.slice(), values };
    const node = this.addNode('Const', [], { dtype: { type: tensor.type }, value: { tensor } }, []);
    const made = this.result(node, 0, { dtype, dims: shape, shape: tensor.shape });
    if (values.length <= SMALL) made.constant = tensor;
    return made.id;
  }

  deleteTensor(id: number): void {
    if (id < FIRST_SYMBOLIC_ID) this.binding.deleteTensor(id);
    else if (!this.tensors.delete(id)) this.outer?.deleteTensor(id);
  }

  tensorDataSync(id: number): never {
    const made = this.tensors.get(id);
    throw new HostReadError(
      made === undefined ? 'tensor from outside of the step' : `result of ${this.nodes[made.node].op}, node ${made.node}`,
    );
  }

  executeOp(name: string, attributes: readonly KernelAttribute[], inputs: readonly number[], numOutputs: number): TensorMetadata[] {
    const ours: Record<string, OpAttribute> = {};
    for (const attribute of attributes) ours[attribute.name] = opAttribute(name, attribute);
    return this.record(name, ours, inputs, numOutputs);
  }

  execute: TensorFlowBinding['execute'] = (name, attributes, inputs, numOutputs) => this.record(name, attributes, inputs, numOutputs);

  /** Records a call of an elementwise kernel: every result has the shape of the first input. */
  callKernel(attributes: Readonly<Record<string, OpAttribute>>, inputs: readonly number[], types: readonly DataType[]): TensorMetadata[] {
    const { dims, shape } = this.of(inputs[0]);
    const outputs = types.map((dtype) => ({ dtype, dims, shape }));
    return this.record('StatefulPartitionedCall', attributes, inputs, types.length, outputs);
  }

  /** The tensor `id` under a new one, with a control edge from the op that makes `before`. */
  identityAfter(id: number, before: number): TensorMetadata {
    this.controlOfNext = this.of(before).node;
    return this.execute('Identity', {}, [id], 1)[0];
  }

  /** Says that a tensor holds the sizes of parts of `whole`, for shapes that follow from it. */
  suggestParts(id: number, whole: number): void {
    this.examples.suggestParts(this.of(id), whole);
  }

  /** Results of the step, each by an Identity of its own (an argument may be returned as well). */
  outputs(ids: readonly number[]): SymbolicTensor[] {
    return ids.map((id) => this.of(this.execute('Identity', {}, [id], 1)[0].id));
  }

  /** The variables that the step reads or changes, each once. */
  capturedVariables(): Variable[] {
    const handles = [...this.argumentOf].filter(([, { dtype }]) => dtype === DataType.resource);
    return handles.flatMap(([id]) => this.binding.variable(id) ?? []);
  }

  /** Lets go of the captured tensors. */
  releaseCaptures(): void {
    for (const { source } of this.arguments) if ('captured' in source) this.binding.deleteTensor(source.captured);
  }

  /** Frees the graphs; a function made of them stays. */
  free(): void {
    this.graph.free();
    this.examples.free();
  }

  private of(id: number): SymbolicTensor {
    return this.tensors.get(id) ?? this.argumentOf.get(id) ?? this.addArgument(id, { captured: this.share(id) });
  }

  private share(id: number): number {
    if (id < FIRST_SYMBOLIC_ID) return this.binding.share(id);
    throw new RecordingError(
      'A tensor that was made while another step was recorded has no values. Return it from that step and pass it on.',
    );
  }

  private record(
    name: string,
    attributes: Readonly<Record<string, OpAttribute>>,
    inputs: readonly number[],
    numOutputs: number,
    returned?: readonly RecordedOutput[],
  ): TensorMetadata[] {
    // A handle alone takes no memory; its variable does when something is assigned, which is recorded only.
    if (name === 'VarHandleOp' && this.declares) return this.binding.execute(name, attributes, inputs, numOutputs);
    if (name === 'VarHandleOp' || name === 'DestroyResourceOp')
      throw new RecordingError(
        'A Parameter was created or disposed inside a compiled step. Create parameters before the step, dispose them after it.',
      );
    const operands = inputs.map((id) => this.of(id));
    const unknown = operands.find(({ dims }) => dims === undefined);
    if (unknown !== undefined)
      throw new RecordingError(
        `${name} takes a result of ${this.nodes[unknown.node].op}, of which TensorFlow does not know the rank without running it.`,
      );
    const node = this.addNode(name, operands, attributes, this.controlInputs(name, operands, numOutputs));
    if (numOutputs === 0) {
      this.controlOutputs.push(this.operations[node]);
      return [];
    }
    const variable = name === 'ReadVariableOp' ? this.binding.variable(inputs[0])?.shape : undefined;
    const called = returned ?? this.outputsOfCall(name, attributes);
    const results = Array.from({ length: numOutputs }, (_, index) => {
      const output = this.output(node, index);
      // Placeholders of variables and calls of functions do not know what is inside.
      const told = variable ?? called?.[index]?.dims;
      if (told !== undefined && isOpen(this.graph.dims(output))) this.graph.setDims(output, told);
      return { output, dtype: this.graph.dtype(output), dims: this.graph.dims(output) };
    });
    const examples = called?.map((result) => this.examples.placeholder(result)) ?? this.exampleResults(name, operands, attributes, results);
    return results.map((result, index) => {
      const shape = examples?.[index].shape ?? result.dims!;
      const made = this.result(node, index, { ...result, shape });
      if (examples !== undefined) Object.assign(made, { twin: examples[index].twin, isExample: true });
      return { id: made.id, shape: shape.slice(), dtype: made.dtype };
    });
  }

  /** Examples of results that are open, or whose values shapes may follow from. */
  private exampleResults(
    name: string,
    operands: readonly SymbolicTensor[],
    attributes: Readonly<Record<string, OpAttribute>>,
    results: readonly { output: GraphOutput; dtype: number; dims: Dims }[],
  ): Example[] | undefined {
    const open = results.some(({ dims }) => isOpen(dims));
    const carries = operands.some(({ isExample }) => isExample) && results.every(({ dims }) => !isOpen(dims) && sizeOf(dims!) <= SMALL);
    if (open) return this.examples.of(name, operands, attributes, results);
    try {
      return carries ? this.examples.of(name, operands, attributes, results) : undefined;
    } catch (error) {
      // An example that was wrong (its size came from nowhere) ends where the size is known again.
      if (TensorFlowError.isInstance(error)) return undefined;
      throw error;
    }
  }

  private outputsOfCall(name: string, attributes: Readonly<Record<string, OpAttribute>>): readonly RecordedOutput[] | undefined {
    for (const value of Object.values(attributes)) {
      const called = 'func' in value ? value.func : 'funcs' in value ? value.funcs[0] : undefined;
      if (called !== undefined && name !== 'While') return this.functions.get(called);
    }
    return this.functions.get(name);
  }

  private controlInputs(name: string, operands: readonly SymbolicTensor[], numOutputs: number): number[] {
    const control = new Set<number>();
    const node = this.nodes.length;
    if (this.controlOfNext !== undefined) control.add(this.controlOfNext);
    this.controlOfNext = undefined;
    let touchesVariable = false;
    for (const { dtype, node: variable } of operands) {
      if (dtype !== DataType.resource) continue;
      touchesVariable = true;
      const write = this.lastWrite.get(variable);
      if (write !== undefined) control.add(write);
      const reads = this.readsSinceWrite.get(variable) ?? [];
      if (readers.has(name)) {
        this.readsSinceWrite.set(variable, [...reads, node]);
        continue;
      }
      if (numOutputs > 0)
        throw new RecordingError(`${name} changes a variable and returns a tensor; a compiled step cannot hold such an op.`);
      this.need(operands.map((operand) => operand.node));
      for (const read of reads) for (const user of [read, ...this.usersOf(read)]) control.add(user);
      this.readsSinceWrite.set(variable, []);
      this.lastWrite.set(variable, node);
    }
    if (name.startsWith('Collective')) {
      if (this.lastCollective !== undefined) control.add(this.lastCollective);
      this.lastCollective = node;
    }
    if (numOutputs === 0 && !touchesVariable) {
      if (this.lastEffect !== undefined) control.add(this.lastEffect);
      this.lastEffect = node;
    }
    return [...control];
  }

  /** Marks nodes, and all that they follow from, as needed. */
  private need(nodes: readonly number[]): void {
    const open = [...nodes];
    for (let node = open.pop(); node !== undefined; node = open.pop()) {
      if (this.needed.has(node)) continue;
      this.needed.add(node);
      const { inputs, control } = this.nodes[node];
      open.push(...inputs.map((input) => input.node), ...control);
    }
  }

  /** Needed nodes that compute with what a node returns. */
  private usersOf(node: number): number[] {
    return this.consumers[node].flatMap((user) =>
      views.has(this.nodes[user].op) ? this.usersOf(user) : this.needed.has(user) ? [user] : [],
    );
  }

  private addArgument(id: number, source: Argument['source']): SymbolicTensor {
    const { dtype, dims, shape } = this.describe(id);
    const attributes = { dtype: { type: dtype as DataType }, ...(dims && { shape: { shape: dims } }) };
    const node = this.addNode('Placeholder', [], attributes, [], 'input' in source ? 'input' : 'captured');
    const made = this.result(node, 0, { dtype, dims, shape });
    this.arguments.push({ operation: this.operations[node], source });
    this.argumentOf.set(id, made);
    return made;
  }

  private describe(id: number): RecordedOutput {
    const made = this.tensors.get(id);
    if (made !== undefined) return made;
    if (this.outer !== undefined) return this.outer.describe(id);
    const shape = this.binding.shape(id);
    return { dtype: this.binding.dtype(id), dims: shape, shape };
  }

  private addNode(
    op: string,
    operands: readonly SymbolicTensor[],
    attributes: Readonly<Record<string, OpAttribute>>,
    control: readonly number[],
    argument?: RecordedNode['argument'],
  ): number {
    const operation = this.graph.add(
      op,
      operands.map(({ output }) => output),
      attributes,
      control.map((node) => this.operations[node]),
    );
    const inputs = operands.map(({ node, output }) => ({ node, index: output.index }));
    this.operations.push(operation);
    for (const { node } of operands) this.consumers[node].push(this.nodes.length);
    this.consumers.push([]);
    return this.nodes.push({ op, inputs, control, attributes, outputs: [], ...(argument && { argument }) }) - 1;
  }

  private output(node: number, index: number): GraphOutput {
    return { oper: this.operations[node], index };
  }

  private result(node: number, index: number, { dtype, dims, shape }: RecordedOutput): SymbolicTensor {
    const made: SymbolicTensor = { id: nextId++, node, output: this.output(node, index), dtype, dims, shape, isExample: false };
    this.tensors.set(made.id, made);
    (this.nodes[node].outputs as RecordedOutput[])[index] = { dtype, dims, shape };
    return made;
  }
}

const sizeOf = (dims: readonly number[]): number => dims.reduce((size, n) => size * n, 1);
