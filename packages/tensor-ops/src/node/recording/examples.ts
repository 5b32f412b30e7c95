/**
 * Example shapes for what depends on data.
 *
 * The recorded graph keeps such sizes open, but tfjs wants numbers. They come from a second graph, the *twin*, to which only ops are added
 * whose results are open or follow from examples: in it example values stand for the data (`suggestParts`), TensorFlow's own evaluation of
 * constants carries them on, and a default where nobody suggested anything. No number may end up in the step: `sameGraph` checks it.
 */
import { DataType, type OpAttribute, type TensorValue } from '../../tensorflow-backend.js';
import type { TensorFlowBinding } from '../binding.js';
import type { GraphOutput } from '../c-api.js';
import { type Dims, Graph, isOpen } from './graph.js';
import type { RecordedOutput, SymbolicTensor } from './symbolic-tensor.js';

/** Tensors of at most so many values may carry example values. */
export const SMALL = 1024;

/** A result with its counterpart in the twin graph. */
export interface Example {
  shape: readonly number[];
  twin: GraphOutput;
}

export class Examples {
  private graph: Graph | undefined;

  /** @param maxOverMean how uneven the examples are: the largest part over the mean; 1 for equal parts */
  constructor(
    private readonly binding: TensorFlowBinding,
    private readonly maxOverMean: number,
  ) {}

  /** Gives a vector of float32 or int32 the sizes of parts of `whole` for values. */
  suggestParts(tensor: SymbolicTensor, whole: number): void {
    const type = tensor.dtype as DataType;
    const parts = partsOf(whole, tensor.shape[0], this.maxOverMean);
    const values = type === DataType.int32 ? Int32Array.from(parts) : Float32Array.from(parts);
    tensor.twin = this.constant({ type, shape: tensor.shape, values });
    tensor.isExample = true;
  }

  /**
   * The op once more, on examples.
   * @param results of the op in the recorded graph, of which at least one is open or follows from examples
   */
  of(
    op: string,
    operands: readonly SymbolicTensor[],
    attributes: Readonly<Record<string, OpAttribute>>,
    results: readonly { dtype: number; dims: Dims }[],
  ): Example[] {
    const operation = this.twins.add(
      op,
      operands.map((x) => this.twinOf(x)),
      attributes,
    );
    return results.map(({ dtype, dims }, index) => {
      const twin = { oper: operation, index };
      const followed = this.twins.dims(twin);
      if (!isOpen(followed)) return { twin, shape: followed! };
      return this.placeholder({ dtype, shape: this.byDefault(op, operands, followed ?? dims, index, results.length) });
    });
  }

  /** A result of which only the shape is an example. */
  placeholder({ dtype, shape }: Pick<RecordedOutput, 'dtype' | 'shape'>): Example {
    const oper = this.twins.add('Placeholder', [], { dtype: { type: dtype as DataType }, shape: { shape } });
    return { twin: { oper, index: 0 }, shape };
  }

  free(): void {
    this.graph?.free();
  }

  /** Equal parts for SplitV; of other ops all that there can be. More uneven: a larger first part, one less along the last open axis. */
  private byDefault(op: string, operands: readonly SymbolicTensor[], dims: Dims, index: number, count: number): number[] {
    // Not even the rank: an error only for whoever reads it (the third reserve of FusedBatchNormV3 is for its gradient alone).
    if (dims === undefined) return [0];
    const last = dims.lastIndexOf(-1);
    return dims.map((size, axis) => {
      if (size >= 0) return size;
      const whole = operands[0]?.shape[axis] ?? 1;
      if (op === 'SplitV') return partsOf(whole, count, this.maxOverMean)[index];
      return this.maxOverMean > 1 && axis === last ? Math.max(1, whole - 1) : whole;
    });
  }

  private get twins(): Graph {
    this.graph ??= new Graph(this.binding);
    return this.graph;
  }

  private twinOf(x: SymbolicTensor): GraphOutput {
    x.twin ??= x.constant === undefined ? this.placeholder(x).twin : this.constant(x.constant);
    return x.twin;
  }

  private constant(tensor: TensorValue): GraphOutput {
    return { oper: this.twins.add('Const', [], { dtype: { type: tensor.type }, value: { tensor } }), index: 0 };
  }
}

/**
 * `whole` in `count` parts, the first of which is `maxOverMean` times the mean and the others equal.
 * @returns whole numbers that sum to `whole`
 */
export function partsOf(whole: number, count: number, maxOverMean: number): number[] {
  const first = Math.min(whole, Math.round((maxOverMean * whole) / count));
  const rest = count === 1 ? 0 : (whole - first) / (count - 1);
  const upTo = (part: number) => (part < 0 ? 0 : part >= count - 1 ? whole : first + Math.floor(part * rest));
  return Array.from({ length: count }, (_, i) => upTo(i) - upTo(i - 1));
}
