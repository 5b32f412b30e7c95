/**
 * tfjs-node's `TFJSBinding` over TensorFlow's eager C API: create, read and delete tensors, execute ops.
 *
 * It takes the place of tfjs-node's native addon (which is tied to libtensorflow 2.9), and differs from it in that every
 * attribute type can be set, bfloat16 and float16 tensors can exist, errors are typed, and an op can run on another thread.
 */
import { RecordingError } from '../errors.js';
import { joined } from '../io/protobuf.js';
import { DataType, type OpAttribute } from '../tensorflow-backend.js';
import { Attr, BindingConstants, FIRST_SYMBOLIC_ID } from './binding-constants.js';
import { bufferBytes, type CApi, memoryView, type Pointer } from './c-api.js';
import { withoutSignals } from './native-process.js';
import { attrValue, configProto } from './protobuf.js';
import { checkInputs, type OpDef, opDef } from './recording/op-def.js';
import { readStrings, STRING_BYTES, writeStrings } from './strings.js';
import { RuntimeStoppedError, TensorFlowError } from './tensorflow-error.js';

/** A tensor as tfjs-node's backend sees it: our id, shape, TensorFlow data type. */
export interface TensorMetadata {
  id: number;
  shape: number[];
  dtype: number;
}

/** tfjs-node's form of an op attribute; `type` is a `TF_AttrType`. */
export interface KernelAttribute {
  name: string;
  type: number;
  value: unknown;
}

/** Values that tfjs hands over: typed arrays, or a list of byte strings. */
export type HostValues = Float32Array | Int32Array | Uint8Array | Uint8Array[];

/** A device as TensorFlow lists it. */
export interface Device {
  name: string;
  type: string;
  memoryBytes: number;
}

export interface ContextOptions {
  /** Threads inside one op; 0 lets TensorFlow take all cores. */
  intraOpThreads: number;
  /** Ops run at once inside a compiled step; 0 lets TensorFlow decide. */
  interOpThreads: number;
  /** Take GPU memory as needed instead of all of it at the start. */
  gpuMemoryGrowth: boolean;
  /** Mebibytes of it that may be taken (default: all). */
  gpuMemoryLimit?: number;
  /** Number of the GPU, of those that are visible (default: TensorFlow's choice, the first). */
  gpu?: number;
  /** Further fields of `ConfigProto`, for a member of a cluster. */
  clusterConfig?: Uint8Array;
}

const encoder = new TextEncoder();

/** Ops that are, or may contain, products of matrices. */
const MULTIPLIES = /MatMul|Conv|Einsum|PartitionedCall/;

/** TensorFlow's status code of what was ended on purpose. */
const ABORTED = 10;

/** What a variable holds. */
export interface Variable {
  dtype: DataType;
  shape: readonly number[];
}

/** An op that is being put together. */
type Op = Pointer;

export class TensorFlowBinding extends BindingConstants {
  readonly TF_Version: string;
  devices: readonly Device[] = [];
  readonly api: CApi;
  readonly context: Pointer;
  private readonly status: Pointer;
  private readonly handles = new Map<number, Pointer>();
  private readonly variables = new Map<number, Variable>();
  private readonly definitions = new Map<string, OpDef | undefined>();
  /** A graph that definitions are asked of. */
  private scratch: Pointer = 0;
  private nextId = 1;
  /** Device that new tensors are copied to, or '' for the host. */
  private uploadDevice = '';
  private readonly outputs = new BigUint64Array(1024);
  private readonly numOutputs = new Int32Array(1);
  /** `ConfigProto` of the context. */
  readonly config: Uint8Array;
  private pendingRuns = 0;
  private lastRunEnded: (() => void) | undefined;
  private shutDown: Promise<void> | undefined;

  constructor(api: CApi, options: ContextOptions) {
    super();
    this.api = api;
    this.TF_Version = api.TF_Version();
    this.status = api.TF_NewStatus();
    const contextOptions = api.TFE_NewContextOptions();
    this.config = joined(configProto(options), options.clusterConfig ?? new Uint8Array(0));
    api.TFE_ContextOptionsSetConfig(contextOptions, this.config, this.config.length, this.status);
    this.context = api.TFE_NewContext(contextOptions, this.status);
    api.TFE_DeleteContextOptions(contextOptions);
    this.check('TFE_NewContext');
    this.findDevices();
  }

  private findDevices(): void {
    this.devices = this.listDevices();
    this.uploadDevice = this.devices.find((d) => d.type === 'GPU')?.name ?? '';
  }

  /**
   * Makes the context a member of a cluster. Parameters and compiled steps that exist already are lost.
   * @param serverDef `ServerDef` around {@link config}
   * @throws TensorFlowError if the server cannot be started or the others do not come in time; the context cannot be used then
   */
  async enableCollectives(serverDef: Uint8Array): Promise<void> {
    // Waits for the others, so it must not hold the event loop.
    await this.called('TFE_EnableCollectiveOps', (status, done) =>
      this.api.TFE_EnableCollectiveOps.async(this.context, serverDef, serverDef.length, status, done),
    );
    this.findDevices();
  }

  /** Ends all collectives that wait, here and on the other ranks, with `message`. */
  abortCollectives(message: string): void {
    const status = this.api.TF_NewStatus();
    this.api.TF_SetStatus(status, ABORTED, message);
    this.api.TFE_AbortCollectiveOps(this.context, status);
    this.api.TF_DeleteStatus(status);
  }

  /** Ends the collectives of the other ranks with `message`. */
  reportToCluster(message: string): void {
    this.api.TFE_ReportErrorToCluster(this.context, ABORTED, message, this.status);
    this.check('TFE_ReportErrorToCluster');
  }

  /** Waits at a barrier of the coordination service. */
  waitAtBarrier(name: string, timeoutMs: number): Promise<void> {
    return this.called('TFE_WaitAtBarrier', (status, done) =>
      this.api.TFE_WaitAtBarrier.async(this.context, name, timeoutMs, status, done),
    );
  }

  /** Puts a text into the coordination service, once for each key. */
  insertKeyValue(key: string, value: string): Promise<void> {
    return this.called('TFE_InsertConfigKeyValue', (status, done) =>
      this.api.TFE_InsertConfigKeyValue.async(this.context, key, value, status, done),
    );
  }

  /** A text of the coordination service; waits at most `timeoutMs` until it is there. */
  async keyValue(key: string, timeoutMs: number): Promise<string> {
    const buffer = this.api.TF_NewBuffer();
    try {
      await this.called('TFE_GetConfigKeyValue', (status, done) =>
        this.api.TFE_GetConfigKeyValue.async(this.context, key, timeoutMs, buffer, status, done),
      );
      return new TextDecoder().decode(bufferBytes(buffer));
    } finally {
      this.api.TF_DeleteBuffer(buffer);
    }
  }

  /** Calls a C function on a thread of the libuv pool. */
  private async called(name: string, call: (status: Pointer, done: (error: Error | null) => void) => void): Promise<void> {
    const status = this.api.TF_NewStatus();
    try {
      await new Promise<void>((resolve, reject) => call(status, (error) => (error ? reject(error) : resolve())));
      this.check(name, undefined, status);
    } finally {
      this.api.TF_DeleteStatus(status);
    }
  }

  isUsingGpuDevice(): boolean {
    return this.uploadDevice !== '';
  }

  getNumOfTensors(): number {
    return this.handles.size;
  }

  createTensor(shape: number[], dtype: number, values: HostValues): number {
    const { api } = this;
    if (this.stopped) throw new RuntimeStoppedError();
    const strings = dtype === DataType.string;
    const byteLength = strings ? (values as Uint8Array[]).length * STRING_BYTES : (values as Uint8Array).byteLength;
    const tensor = api.TF_AllocateTensor(dtype, BigInt64Array.from(shape, BigInt), shape.length, byteLength);
    if (tensor === 0) throw new TensorFlowError('TF_AllocateTensor', 8, `no memory for ${byteLength} bytes`, `shape [${shape}]`);
    if (strings) writeStrings(api, api.TF_TensorData(tensor), values as Uint8Array[]);
    else if (byteLength > 0) {
      const source = values as Uint8Array;
      memoryView(api.TF_TensorData(tensor), byteLength).set(new Uint8Array(source.buffer, source.byteOffset, byteLength));
    }
    let handle = api.TFE_NewTensorHandle(tensor, this.status);
    api.TF_DeleteTensor(tensor);
    this.check('TFE_NewTensorHandle', () => `shape [${shape}]`);
    // Most GPU kernels expect int32 in host memory; strings live there too.
    if (this.uploadDevice !== '' && !strings && dtype !== DataType.int32) {
      const onDevice = api.TFE_TensorHandleCopyToDevice(handle, this.context, this.uploadDevice, this.status);
      api.TFE_DeleteTensorHandle(handle);
      this.check('TFE_TensorHandleCopyToDevice', () => `shape [${shape}]`);
      handle = onDevice;
    }
    return this.register(handle);
  }

  deleteTensor(id: number): void {
    // The shutdown freed it; its owner may dispose it all the same.
    if (this.stopped || id >= FIRST_SYMBOLIC_ID) return;
    this.api.TFE_DeleteTensorHandle(this.handle(id));
    this.handles.delete(id);
    this.variables.delete(id);
  }

  /** Copies a tensor to the host; float64, bfloat16 and float16 come as float32, int64 as pairs of int32. */
  tensorDataSync(id: number): HostValues | BigInt64Array {
    const { api } = this;
    const dtype = this.dtype(id);
    if (dtype === DataType.bfloat16 || dtype === DataType.float16 || dtype === DataType.float64) {
      const cast = this.execute('Cast', { DstT: { type: DataType.float32 } }, [id], 1)[0].id;
      try {
        return this.tensorDataSync(cast);
      } finally {
        this.deleteTensor(cast);
      }
    }
    const tensor = api.TFE_TensorHandleResolve(this.handle(id), this.status);
    this.check('TFE_TensorHandleResolve');
    try {
      const byteLength = api.TF_TensorByteSize(tensor);
      const data = byteLength === 0 ? 0 : api.TF_TensorData(tensor);
      if (dtype === DataType.string) return readStrings(data, byteLength / STRING_BYTES);
      const copy = byteLength === 0 ? new Uint8Array(0) : memoryView(data, byteLength).slice();
      switch (dtype) {
        case DataType.float32:
        case DataType.complex64:
          return new Float32Array(copy.buffer);
        case DataType.int32:
        case DataType.uint32:
          return new Int32Array(copy.buffer);
        case DataType.int64:
        case DataType.uint64:
          return new BigInt64Array(copy.buffer);
        case DataType.bool:
        case DataType.uint8:
          return copy;
        default:
          throw new TensorFlowError('tensorDataSync', 12, `tensors of TensorFlow type ${dtype} cannot be read to the host`);
      }
    } finally {
      api.TF_DeleteTensor(tensor);
    }
  }

  /** Executes an op with tfjs-node's attribute form. */
  executeOp(name: string, attributes: readonly KernelAttribute[], inputs: readonly number[], numOutputs: number): TensorMetadata[] {
    const op = this.newOp(name, inputs);
    try {
      this.setKernelAttributes(op, name, attributes);
      return this.run(op, name, numOutputs, inputs, attributes);
    } finally {
      this.api.TFE_DeleteOp(op);
    }
  }

  /** Executes an op with our attribute form. */
  execute(
    name: string,
    attributes: Readonly<Record<string, OpAttribute>>,
    inputs: readonly number[],
    numOutputs: number,
  ): TensorMetadata[] {
    const op = this.newOp(name, inputs);
    try {
      this.setAttributes(op, name, attributes);
      const results = this.run(op, name, numOutputs, inputs, attributes);
      if (name === 'VarHandleOp') {
        const [{ type: dtype }, { shape }] = [
          attributes['dtype'] as { type: DataType },
          attributes['shape'] as { shape: readonly number[] },
        ];
        this.variables.set(results[0].id, { dtype, shape });
      }
      return results;
    } finally {
      this.api.TFE_DeleteOp(op);
    }
  }

  /** Executes an op (a compiled step) on a thread of the libuv pool. */
  async executeAsync(
    name: string,
    attributes: Readonly<Record<string, OpAttribute>>,
    inputs: readonly number[],
    numOutputs: number,
  ): Promise<TensorMetadata[]> {
    const { api } = this;
    const op = this.newOp(name, inputs);
    const status = api.TF_NewStatus();
    const outputs = new BigUint64Array(Math.max(1, numOutputs));
    const count = Int32Array.of(numOutputs);
    this.pendingRuns++;
    try {
      this.setAttributes(op, name, attributes);
      await new Promise<void>((resolve, reject) =>
        api.TFE_Execute.async(op, outputs, count, status, (error) => (error ? reject(error) : resolve())),
      );
      this.check(name, () => this.describeInputs(inputs), status);
      if (this.stopped) {
        for (const handle of outputs.subarray(0, count[0])) api.TFE_DeleteTensorHandle(Number(handle));
        throw new RuntimeStoppedError();
      }
      return Array.from({ length: count[0] }, (_, i) => this.metadata(Number(outputs[i])));
    } finally {
      api.TFE_DeleteOp(op);
      api.TF_DeleteStatus(status);
      if (--this.pendingRuns === 0) this.lastRunEnded?.();
    }
  }

  /** A new op with its inputs; the caller deletes it. */
  private newOp(name: string, inputs: readonly number[]): Op {
    const { api } = this;
    if (this.stopped) throw new RuntimeStoppedError();
    const op = api.TFE_NewOp(this.context, name, this.status);
    this.check(name);
    // TensorFlow does not: it writes beyond its arrays.
    const definition = this.definition(name);
    if (definition !== undefined) {
      try {
        checkInputs(name, definition, inputs.length);
      } catch (error) {
        api.TFE_DeleteOp(op);
        throw error;
      }
    }
    try {
      for (const id of inputs) {
        api.TFE_OpAddInput(op, this.handle(id), this.status);
        this.check(name, () => this.describeInputs(inputs));
      }
    } catch (error) {
      api.TFE_DeleteOp(op);
      throw error;
    }
    return op;
  }

  /** An op's definition; undefined for functions. */
  private definition(name: string): OpDef | undefined {
    if (this.definitions.has(name)) return this.definitions.get(name);
    if (this.scratch === 0) this.scratch = this.api.TF_NewGraph();
    let definition: OpDef | undefined;
    try {
      definition = opDef(this, this.scratch, name);
    } catch (error) {
      if (!TensorFlowError.isInstance(error)) throw error;
    }
    this.definitions.set(name, definition);
    return definition;
  }

  private setAttributes(op: Op, name: string, attributes: Readonly<Record<string, OpAttribute>>): void {
    const { api, status } = this;
    for (const key in attributes) {
      const attribute = attributes[key];
      if ('type' in attribute) api.TFE_OpSetAttrType(op, key, attribute.type);
      else if ('int' in attribute) api.TFE_OpSetAttrInt(op, key, attribute.int);
      else if ('float' in attribute) api.TFE_OpSetAttrFloat(op, key, attribute.float);
      else if ('bool' in attribute) api.TFE_OpSetAttrBool(op, key, attribute.bool ? 1 : 0);
      else if ('string' in attribute) {
        const bytes = typeof attribute.string === 'string' ? encoder.encode(attribute.string) : attribute.string;
        api.TFE_OpSetAttrString(op, key, bytes, bytes.length);
      } else {
        const bytes = attrValue(attribute);
        api.TFE_OpSetAttrValueProto(op, key, bytes, bytes.length, status);
        this.check(name, () => `attribute ${key}`);
      }
    }
  }

  private setKernelAttributes(op: Op, name: string, attributes: readonly KernelAttribute[]): void {
    const { api, status } = this;
    for (const { name: key, type, value } of attributes) {
      if (value === undefined) throw new TensorFlowError(name, 3, `attribute ${key} has no value`);
      switch (type) {
        case Attr.type:
          if (Array.isArray(value)) this.setAttributes(op, name, { [key]: { types: value as DataType[] } });
          else api.TFE_OpSetAttrType(op, key, value as number);
          break;
        case Attr.int:
          if (Array.isArray(value)) api.TFE_OpSetAttrIntList(op, key, BigInt64Array.from(value as number[], BigInt), value.length);
          else api.TFE_OpSetAttrInt(op, key, value as number);
          break;
        case Attr.float:
          if (Array.isArray(value)) this.setAttributes(op, name, { [key]: { floats: value as number[] } });
          else api.TFE_OpSetAttrFloat(op, key, value as number);
          break;
        case Attr.bool:
          if (Array.isArray(value)) this.setAttributes(op, name, { [key]: { bools: value as boolean[] } });
          else api.TFE_OpSetAttrBool(op, key, value ? 1 : 0);
          break;
        case Attr.string: {
          if (Array.isArray(value)) {
            this.setAttributes(op, name, { [key]: { strings: value as string[] } });
            break;
          }
          const bytes = encoder.encode(value as string);
          api.TFE_OpSetAttrString(op, key, bytes, bytes.length);
          break;
        }
        case Attr.shape: {
          if (Array.isArray((value as unknown[])[0])) {
            this.setAttributes(op, name, { [key]: { shapes: value as number[][] } });
            break;
          }
          const shape = value as number[];
          api.TFE_OpSetAttrShape(op, key, BigInt64Array.from(shape, BigInt), shape.length, status);
          this.check(name, () => `attribute ${key}`);
          break;
        }
        default:
          throw new TensorFlowError(name, 12, `attribute ${key} has the unknown type ${type}`);
      }
    }
  }

  private run(op: Op, name: string, numOutputs: number, inputs: readonly number[], attributes: unknown): TensorMetadata[] {
    if (numOutputs > this.outputs.length)
      throw new TensorFlowError(name, 3, `${numOutputs} outputs; at most ${this.outputs.length} are possible`);
    this.numOutputs[0] = numOutputs;
    const execute = () => this.api.TFE_Execute(op, this.outputs, this.numOutputs, this.status);
    if (MULTIPLIES.test(name)) withoutSignals(execute);
    else execute();
    this.check(name, () => `inputs ${this.describeInputs(inputs)}, attributes ${JSON.stringify(attributes)}`);
    const results = new Array<TensorMetadata>(this.numOutputs[0]);
    for (let i = 0; i < results.length; i++) results[i] = this.metadata(Number(this.outputs[i]));
    return results;
  }

  /** TensorFlow data type of a tensor. */
  dtype(id: number): DataType {
    return this.api.TFE_TensorHandleDataType(this.handle(id)) as DataType;
  }

  shape(id: number): number[] {
    return this.shapeOf(this.handle(id));
  }

  /** The variable behind a handle; TensorFlow does not tell. */
  variable(id: number): Variable | undefined {
    return this.variables.get(id);
  }

  /** A second id for the same tensor, with a life of its own. */
  share(id: number): number {
    const handle = this.api.TFE_TensorHandleCopySharingTensor(this.handle(id), this.status);
    this.check('TFE_TensorHandleCopySharingTensor');
    return this.register(handle);
  }

  /** Throws if the last call that took `status` failed. */
  check(operation: string, detail?: () => string, status: Pointer = this.status): void {
    const code = this.api.TF_GetCode(status);
    if (code === 0) return;
    const message = this.api.TF_Message(status);
    // A status keeps its error until it is set again.
    this.api.TF_SetStatus(status, 0, '');
    throw new TensorFlowError(operation, code, message, detail?.());
  }

  /** The status that `check` looks at, for C functions called elsewhere. */
  get sharedStatus(): Pointer {
    return this.status;
  }

  /** Whether {@link shutdown} was called; everything but disposing throws from then on. */
  get stopped(): boolean {
    return this.shutDown !== undefined;
  }

  /** Frees every tensor and the context, after the steps that still run; their `run()` is rejected. */
  shutdown(): Promise<void> {
    this.shutDown ??= (async () => {
      if (this.pendingRuns > 0) await new Promise<void>((resolve) => (this.lastRunEnded = resolve));
      for (const handle of this.handles.values()) this.api.TFE_DeleteTensorHandle(handle);
      this.handles.clear();
      if (this.scratch !== 0) this.api.TF_DeleteGraph(this.scratch);
      this.api.TFE_DeleteContext(this.context);
      this.api.TF_DeleteStatus(this.status);
    })();
    return this.shutDown;
  }

  loadSavedModel(): never {
    throw new TensorFlowError('loadSavedModel', 12, 'saved models are not supported by this runtime');
  }

  private handle(id: number): Pointer {
    const handle = this.handles.get(id);
    if (this.stopped) throw new RuntimeStoppedError();
    if (id >= FIRST_SYMBOLIC_ID)
      throw new RecordingError(
        'A tensor that was made while a step was recorded has no values outside of that step. Return it from the step.',
      );
    if (handle === undefined) throw new TensorFlowError('tensor', 5, `no tensor has the id ${id}; it was disposed`);
    return handle;
  }

  private register(handle: Pointer): number {
    const id = this.nextId++;
    this.handles.set(id, handle);
    return id;
  }

  private metadata(handle: Pointer): TensorMetadata {
    return { id: this.register(handle), shape: this.shapeOf(handle), dtype: this.api.TFE_TensorHandleDataType(handle) };
  }

  private shapeOf(handle: Pointer): number[] {
    const { api, status } = this;
    const rank = api.TFE_TensorHandleNumDims(handle, status);
    const shape = new Array<number>(Math.max(0, rank));
    for (let i = 0; i < rank; i++) shape[i] = api.TFE_TensorHandleDim(handle, i, status);
    return shape;
  }

  private describeInputs(inputs: readonly number[]): string {
    return inputs.map((id) => `[${this.shape(id)}]`).join(' ');
  }

  private listDevices(): Device[] {
    const { api, status } = this;
    const list = api.TFE_ContextListDevices(this.context, status);
    this.check('TFE_ContextListDevices');
    const devices = Array.from({ length: api.TF_DeviceListCount(list) }, (_, i) => ({
      name: api.TF_DeviceListName(list, i, status),
      type: api.TF_DeviceListType(list, i, status),
      memoryBytes: api.TF_DeviceListMemoryBytes(list, i, status),
    }));
    api.TF_DeleteDeviceList(list);
    return devices;
  }
}
