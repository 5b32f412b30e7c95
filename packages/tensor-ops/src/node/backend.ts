/**
 * tfjs-node's kernel backend on our binding, plus what `TensorFlowBackend` promises: ops by name, real data types, and
 * compiled steps.
 */
import * as tf from '@tensorflow/tfjs-core';
import { NodeJSKernelBackend } from '@tensorflow/tfjs-node-gpu/dist/nodejs_kernel_backend.js';
import { ArgumentError } from '../errors.js';
import type { BackendStep, Computes, ElementwiseChain, OpAttribute, TensorFlowBackend } from '../tensorflow-backend.js';
import { DataType } from '../tensorflow-backend.js';
import type { HostValues, TensorFlowBinding, TensorMetadata } from './binding.js';
import type { Cluster } from './cluster/index.js';
import type { InputSpec } from './planning/plan.js';
import { hasVnni } from './processor.js';
import { type FunctionOutputs, Recorder } from './recording/recorder.js';
import { type Recording, StepFunction } from './step-function.js';
import { TensorFlowError } from './tensorflow-error.js';

/** The parts of tfjs-node's backend that its type declarations hide. */
interface Internals {
  binding: Pick<TensorFlowBinding, 'createTensor' | 'deleteTensor' | 'tensorDataSync' | 'executeOp' | 'execute'>;
  tensorMap: tf.DataStorage<TensorData>;
}

/** A tensor as tfjs-node keeps it. */
interface TensorData {
  id: number;
  dtype: number;
  shape: number[];
  /** Until an op first takes it. */
  values: HostValues | null;
  refCount: number;
}

/** What this backend does differently. */
const nodeBackend = NodeJSKernelBackend.prototype as unknown as {
  move(this: unknown, dataId: object, values: unknown, shape: number[], dtype: tf.DataType, refCount: number): void;
  getInputTensorIds(this: unknown, tensors: readonly tf.TensorInfo[]): number[];
};

/** tfjs label of each TensorFlow data type that can come out of an op. */
const labels: Partial<Record<number, tf.DataType>> = {
  [DataType.float32]: 'float32',
  [DataType.bfloat16]: 'float32',
  [DataType.float16]: 'float32',
  [DataType.float64]: 'float32',
  [DataType.int32]: 'int32',
  [DataType.int64]: 'int32',
  [DataType.uint8]: 'int32',
  [DataType.int8]: 'int32',
  [DataType.qint8]: 'int32',
  [DataType.uint32]: 'int32',
  [DataType.uint64]: 'int32',
  [DataType.bool]: 'bool',
  [DataType.complex64]: 'complex64',
  [DataType.string]: 'string',
  [DataType.resource]: 'string',
};

export class TensorFlowNodeBackend
  extends (NodeJSKernelBackend as unknown as new (binding: unknown, packageName: string) => tf.KernelBackend)
  implements TensorFlowBackend
{
  declare isUsingGpuDevice: boolean;
  bf16Products: boolean;
  readonly int8Products = hasVnni();
  private readonly tensorFlow: TensorFlowBinding;
  private recorder: Recorder | undefined;
  /** Whether chains become kernels: on a CPU only, no GPU was at hand to try it. */
  private fuses: boolean;
  private readonly functions: FunctionOutputs = new Map();
  /** Data of tensors that were made inside of the step that is being recorded. */
  private madeInside = new WeakSet<object>();
  /** Fused kernels by chain and types of the inputs; they live as long as the runtime. */
  private readonly kernels = new Map<ElementwiseChain, Map<string, { func: string; results: DataType[] }>>();

  constructor(
    binding: TensorFlowBinding,
    readonly computes: Computes,
    /** Where TensorFlow's libraries lie. */
    readonly libraryDirectory: string,
    private readonly cluster?: Cluster,
  ) {
    super(binding, '@tensorflow/tfjs-node-gpu');
    this.tensorFlow = binding;
    this.bf16Products = computes.bf16 === 'bfloat16';
    this.fuses = !binding.isUsingGpuDevice();
  }

  get stopped(): boolean {
    return this.tensorFlow.stopped;
  }

  get recording(): boolean {
    return this.recorder !== undefined;
  }

  raw(op: string, inputs: readonly tf.Tensor[], attributes: Readonly<Record<string, OpAttribute>> = {}, numOutputs = 1): tf.Tensor[] {
    inputs.forEach((x, i) => {
      if (x.isDisposed)
        throw new ArgumentError(`${op}: input ${i}`, 'a tensor that was not disposed', `a disposed one of shape [${x.shape}]`);
    });
    const ids = this.getInputTensorIds(inputs);
    return this.internals.binding.execute(op, attributes, ids, numOutputs).map((m) => this.createOutputTensor(m));
  }

  identityAfter(x: tf.Tensor, before: tf.Tensor): tf.Tensor {
    const [id, first] = this.getInputTensorIds([x, before]) as [number, number];
    return this.createOutputTensor(this.recorder!.identityAfter(id, first));
  }

  fused(compute: ElementwiseChain, inputs: readonly tf.Tensor[]): tf.Tensor[] {
    if (!this.recording || !this.fuses) return compute(...inputs);
    const types = inputs.map((x) => this.dtypeOf(x));
    const ofChain = this.kernels.get(compute) ?? new Map<string, { func: string; results: DataType[] }>();
    this.kernels.set(compute, ofChain);
    let kernel = ofChain.get(types.join());
    if (kernel === undefined) {
      let results: DataType[] = [];
      const chain: ElementwiseChain = (...xs) => {
        const values = compute(...xs);
        results = values.map((value) => this.dtypeOf(value));
        return values;
      };
      const step = this.compileStep(chain, inputs, { name: compute.name, xla: true });
      try {
        this.tryKernel(step, types);
      } catch (error) {
        if (!(error instanceof TensorFlowError)) throw error;
        // This build of TensorFlow compiles nothing, which costs speed and changes no result.
        this.fuses = false;
        step.dispose();
        return compute(...inputs);
      }
      kernel = { func: step.functionName, results };
      ofChain.set(types.join(), kernel);
    }
    const { func, results } = kernel;
    // The attribute keeps TensorFlow from inlining the function, which would undo the fusion.
    const attributes = { f: { func }, Tin: { types }, Tout: { types: results }, _XlaMustCompile: { bool: true } };
    return this.recorder!.callKernel(attributes, this.getInputTensorIds(inputs), results).map((m) => this.createOutputTensor(m));
  }

  /** Runs a kernel on one number per input: the tensors of the recording around it have no values. */
  private tryKernel(step: BackendStep, types: readonly DataType[]): void {
    const { recorder } = this;
    const { binding } = this.internals;
    this.recorder = undefined;
    this.internals.binding = this.tensorFlow;
    try {
      tf.tidy(() => void step.runSync(types.map((type) => this.raw('Cast', [tf.zeros([1])], { DstT: { type } })[0])));
    } finally {
      this.recorder = recorder;
      this.internals.binding = binding;
    }
  }

  suggestParts(sizes: tf.Tensor, whole: number): void {
    this.recorder?.suggestParts(this.getInputTensorIds([sizes])[0], whole);
  }

  dtypeOf(x: tf.Tensor): DataType {
    return this.internals.tensorMap.get(x.dataId).dtype as DataType;
  }

  compileStep(
    step: (...inputs: tf.Tensor[]) => tf.Tensor[],
    inputs: readonly tf.Tensor[],
    options: { name: string; xla?: boolean; rewrite?: boolean },
  ): BackendStep {
    const recording = this.record(step, inputs);
    const agreed = this.cluster?.recorded(options.name);
    const returned = recording.outputs.map(({ dtype, dims, shape }) => ({ dtype, dims, shape }));
    const fn = new StepFunction(this.tensorFlow, recording, options);
    this.functions.set(fn.name, returned);
    const wrap = (results: TensorMetadata[]): tf.Tensor[] => results.map((m) => this.createOutputTensor(m));
    return {
      functionName: fn.name,
      runSync: (xs) => wrap(fn.runSync(this.getInputTensorIds(xs))),
      run: async (xs) => {
        await agreed?.();
        return wrap(await fn.run(this.getInputTensorIds(xs)));
      },
      dispose: () => {
        this.functions.delete(fn.name);
        fn.dispose();
      },
    };
  }

  /**
   * Records a step; whoever takes the recording frees it.
   * @param maxOverMean how uneven the examples of sizes that depend on data are (default 1: even)
   */
  record(step: (...inputs: tf.Tensor[]) => tf.Tensor[], inputs: readonly tf.Tensor[], maxOverMean = 1): Recording {
    const inputIds = this.getInputTensorIds(inputs);
    return this.recordWith(new Recorder(this.tensorFlow, this.functions, maxOverMean, this.recorder), (recorder) => {
      inputIds.forEach((id, i) => {
        recorder.addInput(id, i);
      });
      return step(...inputs);
    });
  }

  /** Records a step for inputs that do not exist. */
  recordSpecs(step: (...inputs: tf.Tensor[]) => tf.Tensor[], inputs: readonly InputSpec[], maxOverMean: number): Recording {
    return this.recordWith(new Recorder(this.tensorFlow, this.functions, maxOverMean), (recorder) =>
      step(...inputs.map(({ shape, dtype = 'float32' }) => this.createOutputTensor(recorder.placeholder(DataType[dtype], shape)))),
    );
  }

  /** See the function `declared`. */
  declare<T>(make: () => T): T {
    const recorder = new Recorder(this.tensorFlow, this.functions, 1, undefined, true);
    try {
      return this.during(recorder, make);
    } finally {
      recorder.releaseCaptures();
      recorder.free();
    }
  }

  private recordWith(recorder: Recorder, step: (recorder: Recorder) => tf.Tensor[]): Recording {
    let outputs: Recording['outputs'] = [];
    try {
      this.during(recorder, () =>
        tf.tidy(() => {
          outputs = recorder.outputs(this.getInputTensorIds(step(recorder)));
        }),
      );
      return { recorder, outputs };
    } catch (error) {
      recorder.releaseCaptures();
      recorder.free();
      throw error;
    }
  }

  /** Runs `work` with every op going to the recorder. */
  private during<T>(recorder: Recorder, work: () => T): T {
    // A fused kernel is recorded while the step around it is.
    const outer = { recorder: this.recorder, binding: this.internals.binding };
    if (outer.recorder === undefined) this.madeInside = new WeakSet();
    this.recorder = recorder;
    this.internals.binding = recorder;
    try {
      return work();
    } finally {
      this.internals.binding = outer.binding;
      this.recorder = outer.recorder;
    }
  }

  /** Takes over values from tfjs, which go to TensorFlow when an op first needs them. */
  override move(dataId: object, values: unknown, shape: number[], dtype: tf.DataType, refCount: number): void {
    if (this.recording) this.madeInside.add(dataId);
    nodeBackend.move.call(this, dataId, values, shape, dtype, refCount);
  }

  /**
   * Ids of tensors, whose values go to TensorFlow now if they are still with tfjs: those made inside a step that is being recorded become
   * constants of it, those from outside are uploaded, and become arguments.
   */
  getInputTensorIds(tensors: readonly tf.TensorInfo[]): number[] {
    if (this.recording) {
      for (const { dataId } of tensors) {
        const data = this.internals.tensorMap.get(dataId) as TensorData | undefined;
        if (data === undefined || data.values === null || this.madeInside.has(dataId)) continue;
        data.id = this.tensorFlow.createTensor(data.shape, data.dtype, data.values);
        data.values = null;
      }
    }
    return nodeBackend.getInputTensorIds.call(this, tensors);
  }

  /** Wraps a TensorFlow tensor for tfjs; called by tfjs-node's kernels. */
  createOutputTensor(metadata: TensorMetadata): tf.Tensor {
    const { id, shape, dtype } = metadata;
    const label = labels[dtype];
    if (label === undefined) {
      this.internals.binding.deleteTensor(id);
      throw new Error(`TensorFlow returned a tensor of type ${dtype}, which has no tfjs label.`);
    }
    const dataId = {};
    this.internals.tensorMap.set(dataId, { id, shape, dtype, values: null, refCount: 1 });
    return tf.engine().makeTensorFromTensorInfo({ dataId, shape, dtype: label });
  }

  /** Reads a tensor without blocking longer than the copy itself; a compiled step should be awaited before. */
  override async read(dataId: tf.DataId): Promise<tf.backend_util.BackendValues> {
    return this.readSync(dataId as object);
  }

  /** Number of live TensorFlow tensors. */
  getNumOfTFTensors(): number {
    return this.tensorFlow.getNumOfTensors();
  }

  private get internals(): Internals {
    return this as unknown as Internals;
  }
}
