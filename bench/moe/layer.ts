/** Our side of the moe benchmark: routed experts with the choice given, compiled, forward or forward and backward. */
import { capacity, type Dispatcher, dense, padded, routedExperts, slices } from '@dit-moe/moe';
import { compile, Parameter, type Precision } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';

export interface LayerCase {
  tokens: number;
  width: number;
  hidden: number;
  numExperts: number;
  topK: number;
  precision: Precision;
  workload: 'forward' | 'train';
  /** Experts of each token, `tokens * topK`. */
  indices: number[];
}

export const dispatchers: Record<string, Dispatcher> = { slices, padded, capacity: capacity({ factor: 1.25 }), dense };

/** Tensors of a case, shared by all dispatchers. */
export class LayerTensors {
  private readonly tensors: tf.Tensor[];
  private readonly parameters: Parameter[];

  constructor(private readonly layer: LayerCase) {
    const { tokens, width, hidden, numExperts, topK, precision, indices } = layer;
    const random = (shape: number[], seed: number, scale: number) =>
      tf.tidy(() => tf.mul(tf.randomNormal(shape, 0, 1, 'float32', seed), scale));
    const stored = precision === 'bf16' ? 'bfloat16' : 'float32';
    this.tensors = [
      random([tokens, width], 1, 1),
      tf.fill([tokens, topK], 0.3),
      random([tokens, width], 2, 1),
      tf.tensor(indices, [tokens, topK], 'int32'),
    ];
    this.parameters = [
      Parameter.create('gateUp', () => random([numExperts, width, 2 * hidden], 3, 0.02)),
      Parameter.create('down', () => random([numExperts, hidden, width], 4, 0.02)),
    ].map((float) => {
      const value = float.read();
      const parameter = new Parameter(float.name, value, stored);
      value.dispose();
      float.dispose();
      return parameter;
    });
  }

  /** One compiled run; results are read only in so far as to know that they exist. */
  step(dispatcher: Dispatcher): { run(): Promise<void>; dispose(): void } {
    const { numExperts, precision, workload } = this.layer;
    const [x, weights, dy, indices] = this.tensors as [tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor];
    const output = (xIn: tf.Tensor, w: tf.Tensor, gateUp: tf.Tensor, down: tf.Tensor) =>
      routedExperts(xIn, { indices, weights: w, numExperts, full: true }, { gateUp, down }, { precision, dispatcher }).output;
    const fn = compile(() => {
      const [gateUp, down] = this.parameters.map((p) => p.read()) as [tf.Tensor, tf.Tensor];
      if (workload === 'forward') return [output(x, weights, gateUp, down)];
      return tf.grads((a, b, c, d) => output(a!, b!, c!, d!))([x, weights, gateUp, down], dy);
    });
    return {
      async run() {
        tf.dispose(await fn.run());
      },
      dispose: () => fn.dispose(),
    };
  }

  dispose(): void {
    tf.dispose(this.tensors);
    for (const parameter of this.parameters) parameter.dispose();
  }
}

/** A choice of experts: uniform, or with shares that fall off geometrically; from a fixed sequence. */
export function chooseExperts(tokens: number, numExperts: number, topK: number, skew: number): number[] {
  let state = 12345;
  const uniform = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  const shares = Array.from({ length: numExperts }, (_, e) => skew ** e);
  return Array.from({ length: tokens }, () => {
    // Gumbel noise on the log shares: the best k are a draw without replacement.
    const keys = shares.map((share) => Math.log(share) - Math.log(-Math.log(uniform() + 1e-12)));
    return keys
      .map((key, e) => ({ key, e }))
      .sort((a, b) => b.key - a.key)
      .slice(0, topK)
      .map(({ e }) => e);
  }).flat();
}

/** Largest load over the mean. */
export function imbalance(indices: readonly number[], numExperts: number): number {
  const load = new Array<number>(numExperts).fill(0);
  for (const e of indices) load[e]!++;
  return (Math.max(...load) * numExperts) / indices.length;
}
