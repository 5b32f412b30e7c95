/** Our side of the moe benchmark: routed experts with the choice given, compiled, forward or forward and backward. */
import { capacity, type Dispatcher, dense, padded, routedExperts, slices } from '@dit-moe/moe/dispatch';
import { compile, DataType, Parameter, type Precision, tensorFlowBackend } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs-core';

export interface LayerCase {
  tokens: number;
  width: number;
  hidden: number;
  numExperts: number;
  topK: number;
  precision: Precision;
  workload: 'forward' | 'train';
  /** Experts of each token, `tokens * topK` of them; each run takes the next of these choices. */
  choices: number[][];
}

export const dispatchers: Record<string, Dispatcher> = { slices, padded, capacity: capacity({ factor: 1.25 }), dense };

/** Tensors of a case, shared by all dispatchers. */
export class LayerTensors {
  private readonly tensors: tf.Tensor[];
  private readonly choices: tf.Tensor[];
  private readonly parameters: Parameter[];

  constructor(private readonly layer: LayerCase) {
    const { tokens, width, hidden, numExperts, topK, precision, choices } = layer;
    const random = (shape: number[], seed: number, scale: number) =>
      tf.tidy(() => tf.mul(tf.randomNormal(shape, 0, 1, 'float32', seed), scale));
    // As the trainer and the sampler keep them: bfloat16 copies only where products are faster so.
    const stored = precision === 'bf16' && tensorFlowBackend()!.bf16Products ? 'bfloat16' : 'float32';
    this.tensors = [random([tokens, width], 1, 1), tf.fill([tokens, topK], 0.3), random([tokens, width], 2, 1)];
    this.choices = choices.map((indices) => tf.tensor(indices, [tokens, topK], 'int32'));
    this.parameters = [
      Parameter.create('gateUp', () => random([numExperts, 2, width, hidden], 3, 0.02)),
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
    const [x, weights, dy] = this.tensors as [tf.Tensor, tf.Tensor, tf.Tensor];
    const output = (indices: tf.Tensor, xIn: tf.Tensor, w: tf.Tensor, gateUp: tf.Tensor, down: tf.Tensor) =>
      routedExperts(xIn, { indices, weights: w, numExperts, full: true }, { gateUp, down }, { precision, dispatcher }).output;
    const fn = compile((indices: tf.Tensor) => {
      const [gateUp, down] = this.parameters.map((p) => p.read()) as [tf.Tensor, tf.Tensor];
      if (workload === 'forward') return [output(indices, x, weights, gateUp, down)];
      return tf.grads((a, b, c, d) => output(indices, a, b, c, d))([x, weights, gateUp, down], dy);
    });
    const { choices } = this;
    let runs = 0;
    return {
      async run() {
        tf.dispose(await fn.run(choices[runs++ % choices.length]));
      },
      dispose: () => fn.dispose(),
    };
  }

  /**
   * The matrix products of the experts alone for the first choice, on rows that lie ready: what no dispatcher can go below without faster
   * products.
   */
  products(): { run(): Promise<void>; dispose(): void } {
    const { width, hidden, numExperts, precision, workload, choices } = this.layer;
    const backend = tensorFlowBackend()!;
    const type = precision === 'bf16' && backend.bf16Products ? DataType.bfloat16 : DataType.float32;
    const ones = (shape: number[]): tf.Tensor => tf.tidy(() => backend.raw('Cast', [tf.ones(shape)], { DstT: { type } })[0]);
    const loads = loadOf(choices[0], numExperts).filter((load) => load > 0);
    // Different tensors for different products: equal ones would be computed once.
    const rows = loads.flatMap((load) => [ones([load, width]), ones([load, hidden]), ones([load, hidden])]);
    const matMul = (a: tf.Tensor, b: tf.Tensor, transposeA = false, transposeB = false): tf.Tensor =>
      backend.raw('MatMul', [a, b], { transpose_a: { bool: transposeA }, transpose_b: { bool: transposeB } })[0];
    const weights = [ones([width, hidden]), ones([width, hidden]), ones([hidden, width])];
    const fn = compile((gate: tf.Tensor, up: tf.Tensor, down: tf.Tensor) =>
      loads.flatMap((_, e) => {
        const [x, h, g] = rows.slice(3 * e, 3 * e + 3) as [tf.Tensor, tf.Tensor, tf.Tensor];
        const forward = [matMul(x, gate), matMul(x, up), matMul(h, down)];
        if (workload === 'forward') return forward;
        const ofRows = [matMul(x, down, false, true), matMul(g, gate, false, true), matMul(h, up, false, true)];
        return [...forward, ...ofRows, matMul(h, x, true), matMul(x, g, true), matMul(x, h, true)];
      }),
    );
    return {
      async run() {
        tf.dispose(await fn.run(...(weights as [tf.Tensor, tf.Tensor, tf.Tensor])));
      },
      dispose() {
        fn.dispose();
        tf.dispose([...rows, ...weights]);
      },
    };
  }

  dispose(): void {
    tf.dispose([...this.tensors, ...this.choices]);
    for (const parameter of this.parameters) parameter.dispose();
  }
}

/** A choice of experts with shares that fall off geometrically by `skew` (1: uniform; 1e-9: all to the first ones); from a fixed sequence. */
export function chooseExperts(tokens: number, numExperts: number, topK: number, skew: number, seed = 12345): number[] {
  let state = seed;
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

function loadOf(indices: readonly number[], numExperts: number): number[] {
  const load = new Array<number>(numExperts).fill(0);
  for (const e of indices) load[e]++;
  return load;
}

/** Largest load over the mean. */
export function imbalance(indices: readonly number[], numExperts: number): number {
  return (Math.max(...loadOf(indices, numExperts)) * numExperts) / indices.length;
}
