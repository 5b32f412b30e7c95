/**
 * tfjs-node's kernel backend on our binding, plus what `TensorFlowBackend` promises: ops by name, real data types, and
 * compiled steps.
 */
import * as tf from '@tensorflow/tfjs-core';
import { NodeJSKernelBackend } from '@tensorflow/tfjs-node-gpu/dist/nodejs_kernel_backend.js';
import type { BackendStep, ElementwiseChain, OpAttribute, TensorFlowBackend } from '../tensorflow-backend.js';
import { DataType } from '../tensorflow-backend.js';
import { hasFastBf16 } from './bf16-products.js';
import type { TensorFlowBinding, TensorMetadata } from './binding.js';
import { Recorder } from './recorder.js';
import { StepFunction } from './step-function.js';
import { TensorFlowError } from './tensorflow-error.js';

/** The parts of tfjs-node's backend that its type declarations hide. */
interface Internals {
  binding: Pick<TensorFlowBinding, 'createTensor' | 'deleteTensor' | 'tensorDataSync' | 'executeOp' | 'execute'>;
  tensorMap: tf.DataStorage<{ id: number; dtype: number; shape: number[]; values: unknown; refCount: number }>;
  getInputTensorIds(tensors: readonly tf.TensorInfo[]): number[];
}

/** tfjs label of each TensorFlow data type that can come out of an op. */
const labels: Partial<Record<number, tf.DataType>> = {
  [DataType.float32]: 'float32',
  [DataType.bfloat16]: 'float32',
  [DataType.float16]: 'float32',
  [DataType.float64]: 'float32',
  [DataType.int32]: 'int32',
  [DataType.int64]: 'int32',
  [DataType.uint8]: 'int32',
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
  private readonly tensorFlow: TensorFlowBinding;
  private recorder: Recorder | undefined;
  /** Whether chains become kernels: on a CPU only, no GPU was at hand to try it. */
  private fuses: boolean;
  /** Fused kernels by chain and types of the inputs; they live as long as the runtime. */
  private readonly kernels = new Map<ElementwiseChain, Map<string, { func: string; results: DataType[] }>>();

  constructor(binding: TensorFlowBinding) {
    super(binding, '@tensorflow/tfjs-node-gpu');
    this.tensorFlow = binding;
    this.bf16Products = binding.isUsingGpuDevice() || hasFastBf16();
    this.fuses = !binding.isUsingGpuDevice();
  }

  get stopped(): boolean {
    return this.tensorFlow.stopped;
  }

  get recording(): boolean {
    return this.recorder !== undefined;
  }

  raw(op: string, inputs: readonly tf.Tensor[], attributes: Readonly<Record<string, OpAttribute>> = {}, numOutputs = 1): tf.Tensor[] {
    const ids = this.internals.getInputTensorIds(inputs);
    return this.internals.binding.execute(op, attributes, ids, numOutputs).map((m) => this.createOutputTensor(m));
  }

  identityAfter(x: tf.Tensor, before: tf.Tensor): tf.Tensor {
    const [id, first] = this.internals.getInputTensorIds([x, before]) as [number, number];
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
        tf.dispose(step.runSync(inputs));
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
    return this.raw('StatefulPartitionedCall', inputs, attributes, results.length);
  }

  dtypeOf(x: tf.Tensor): DataType {
    return this.internals.tensorMap.get(x.dataId).dtype as DataType;
  }

  compileStep(
    step: (...inputs: tf.Tensor[]) => tf.Tensor[],
    inputs: readonly tf.Tensor[],
    options: { name: string; xla?: boolean; rewrite?: boolean },
  ): BackendStep {
    const { tensorFlow } = this;
    const inputIds = this.internals.getInputTensorIds(inputs);
    const recorder = new Recorder(tensorFlow);
    inputIds.forEach((id, i) => {
      recorder.addInput(id, i);
    });
    let outputs: string[] = [];
    // A fused kernel is recorded while the step around it is.
    const outer = { recorder: this.recorder, binding: this.internals.binding };
    this.recorder = recorder;
    this.internals.binding = recorder;
    try {
      tf.tidy(() => {
        outputs = recorder.outputNodes(this.internals.getInputTensorIds(step(...inputs)));
      });
    } catch (error) {
      recorder.releaseCaptures();
      throw error;
    } finally {
      this.internals.binding = outer.binding;
      this.recorder = outer.recorder;
    }
    const fn = new StepFunction(tensorFlow, recorder, outputs, options);
    const wrap = (results: TensorMetadata[]): tf.Tensor[] => results.map((m) => this.createOutputTensor(m));
    return {
      functionName: fn.name,
      runSync: (xs) => wrap(fn.runSync(this.internals.getInputTensorIds(xs))),
      run: async (xs) => wrap(await fn.run(this.internals.getInputTensorIds(xs))),
      dispose: () => fn.dispose(),
    };
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
