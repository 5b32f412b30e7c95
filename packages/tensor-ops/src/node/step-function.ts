/** A recorded step as a function of TensorFlow's eager context: one `TFE_Execute` runs it. */
import type { OpAttribute } from '../tensorflow-backend.js';
import type { TensorFlowBinding, TensorMetadata } from './binding.js';
import type { Pointer } from './c-api.js';
import { withoutSignals } from './native-process.js';
import { attrValue, rewriteConfig } from './protobuf.js';
import type { Argument, Recorder } from './recorder.js';

let nextFunction = 0;

export class StepFunction {
  /** Its name in TensorFlow's context. */
  readonly name: string;
  private readonly arguments: readonly Argument[];
  private readonly attributes: Readonly<Record<string, OpAttribute>>;
  private pending = 0;
  private disposeRequested = false;

  /**
   * @param outputs node names of the outputs
   */
  constructor(
    private readonly binding: TensorFlowBinding,
    private readonly recorder: Recorder,
    private readonly outputs: readonly string[],
    options: { name: string; xla?: boolean; rewrite?: boolean },
  ) {
    const { api } = binding;
    this.name = `${options.name.replace(/[^A-Za-z0-9_]/g, '_')}_${nextFunction++}`;
    this.arguments = recorder.arguments;
    // Of TensorFlow's graph optimisers the one that fuses ops: others take away control edges, and results live longer then.
    this.attributes = options.rewrite ? { config_proto: { string: rewriteConfig('remap') } } : {};
    const status = binding.sharedStatus;
    const bytes = recorder.graphDef();
    const graph = api.TF_NewGraph();
    const importOptions = api.TF_NewImportGraphDefOptions();
    const buffer = api.TF_NewBufferFromString(bytes, bytes.length);
    let fn: Pointer = 0;
    try {
      api.TF_GraphImportGraphDef(graph, buffer, importOptions, status);
      binding.check(options.name, () => `importing ${recorder.numNodes} recorded ops`);
      fn = api.TF_GraphToFunctionWithControlOutputs(
        graph,
        this.name,
        0,
        // -1: every node of the graph belongs to the function.
        -1,
        0,
        this.arguments.length,
        outputArray(this.arguments.map(({ node }) => api.TF_GraphOperationByName(graph, node))),
        outputs.length,
        outputArray(outputs.map((node) => api.TF_GraphOperationByName(graph, node))),
        0,
        recorder.controlOutputs.length,
        BigUint64Array.from(recorder.controlOutputs, (node) => BigInt(api.TF_GraphOperationByName(graph, node))),
        0,
        0,
        options.name,
        status,
      );
      binding.check(options.name, () => `turning ${recorder.numNodes} recorded ops into a function`);
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
      api.TF_DeleteBuffer(buffer);
      api.TF_DeleteImportGraphDefOptions(importOptions);
      api.TF_DeleteGraph(graph);
    }
  }

  runSync(inputs: readonly number[]): TensorMetadata[] {
    return withoutSignals(() => this.binding.execute(this.name, this.attributes, this.argumentIds(inputs), this.outputs.length));
  }

  async run(inputs: readonly number[]): Promise<TensorMetadata[]> {
    this.pending++;
    try {
      return await this.binding.executeAsync(this.name, this.attributes, this.argumentIds(inputs), this.outputs.length);
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
    this.recorder.releaseCaptures();
  }

  private argumentIds(inputs: readonly number[]): number[] {
    return this.arguments.map(({ source }) => ('input' in source ? inputs[source.input] : source.captured));
  }
}

/** `TF_Output[]`: {operation pointer, output index} of the first output of each operation. */
function outputArray(operations: readonly Pointer[]): BigUint64Array {
  const words = new BigUint64Array(Math.max(1, operations.length) * 2);
  operations.forEach((operation, i) => {
    words[2 * i] = BigInt(operation);
  });
  return words;
}
