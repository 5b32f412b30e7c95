/** A recorded step as a function of TensorFlow's eager context: one `TFE_Execute` runs it. */
import type { OpAttribute } from '../tensorflow-backend.js';
import type { TensorFlowBinding, TensorMetadata } from './binding.js';
import type { Pointer } from './c-api.js';
import { withoutSignals } from './native-process.js';
import { attrValue, rewriteConfig } from './protobuf.js';
import { outputList } from './recording/graph.js';
import type { Argument, Recorder } from './recording/recorder.js';
import type { SymbolicTensor } from './recording/symbolic-tensor.js';

/** A step that was recorded. */
export interface Recording {
  recorder: Recorder;
  outputs: readonly SymbolicTensor[];
}

let nextFunction = 0;

export class StepFunction {
  /** Its name in TensorFlow's context. */
  readonly name: string;
  private readonly arguments: readonly Argument['source'][];
  private readonly numOutputs: number;
  private readonly attributes: Readonly<Record<string, OpAttribute>>;
  private pending = 0;
  private disposeRequested = false;

  /** Makes a function of a recording and frees the recording; the function holds on to the captured tensors. */
  constructor(
    private readonly binding: TensorFlowBinding,
    { recorder, outputs }: Recording,
    options: { name: string; xla?: boolean; rewrite?: boolean },
  ) {
    const { api, sharedStatus: status } = binding;
    this.name = `${options.name.replace(/[^A-Za-z0-9_]/g, '_')}_${nextFunction++}`;
    this.arguments = recorder.arguments.map(({ source }) => source);
    this.numOutputs = outputs.length;
    // Of TensorFlow's graph optimisers the one that fuses ops: others take away control edges, and results live longer then.
    this.attributes = options.rewrite ? { config_proto: { string: rewriteConfig('remap') } } : {};
    let fn: Pointer = 0;
    try {
      fn = api.TF_GraphToFunctionWithControlOutputs(
        recorder.graph.pointer,
        this.name,
        0,
        // -1: every node of the graph belongs to the function.
        -1,
        0,
        this.arguments.length,
        outputList(recorder.arguments.map(({ operation }) => ({ oper: operation, index: 0 }))),
        outputs.length,
        outputList(outputs.map(({ output }) => output)),
        0,
        recorder.controlOutputs.length,
        BigUint64Array.from(recorder.controlOutputs, BigInt),
        0,
        0,
        options.name,
        status,
      );
      binding.check(options.name, () => `turning ${recorder.nodes.length} recorded ops into a function`);
      if (options.xla) {
        const yes = attrValue({ bool: true });
        api.TF_FunctionSetAttrValueProto(fn, '_XlaMustCompile', yes, yes.length, status);
        binding.check(options.name);
      }
      api.TFE_ContextAddFunction(binding.context, fn, status);
      binding.check(options.name);
    } catch (error) {
      recorder.releaseCaptures();
      throw error;
    } finally {
      if (fn !== 0) api.TF_DeleteFunction(fn);
      recorder.free();
    }
  }

  runSync(inputs: readonly number[]): TensorMetadata[] {
    return withoutSignals(() => this.binding.execute(this.name, this.attributes, this.argumentIds(inputs), this.numOutputs));
  }

  async run(inputs: readonly number[]): Promise<TensorMetadata[]> {
    this.pending++;
    try {
      return await this.binding.executeAsync(this.name, this.attributes, this.argumentIds(inputs), this.numOutputs);
    } finally {
      this.pending--;
      if (this.disposeRequested) this.dispose();
    }
  }

  /** Removes the function from the context, after the runs that are under way. */
  dispose(): void {
    this.disposeRequested = true;
    if (this.pending > 0 || this.binding.stopped) return;
    this.binding.api.TFE_ContextRemoveFunction(this.binding.context, this.name, this.binding.sharedStatus);
    this.binding.check(this.name);
    for (const source of this.arguments) if ('captured' in source) this.binding.deleteTensor(source.captured);
  }

  private argumentIds(inputs: readonly number[]): number[] {
    return this.arguments.map((source) => ('input' in source ? inputs[source.input] : source.captured));
  }
}
