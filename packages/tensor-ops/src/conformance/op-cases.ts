/** Every differentiable op with inputs, for comparisons with differences and between backends. */
import * as tf from '@tensorflow/tfjs-core';
import * as ops from '../ops/index.js';
import { numbers } from './numbers.js';

/** One op, or one way to use it. */
export interface OpCase {
  /** Shapes of the differentiable inputs, filled from a fixed sequence. */
  shapes: number[][];
  run(...inputs: tf.Tensor[]): tf.Tensor;
}

const ids = () => tf.tensor1d([2, 0, 2, 1], 'int32');

/** Every differentiable op by name. */
export const opCases: Record<string, OpCase> = {
  linear: { shapes: [[2, 3, 4], [4, 5], [5]], run: (x, w, b) => ops.linear(x, w, b) },
  'linear without bias': {
    shapes: [
      [3, 4],
      [4, 2],
    ],
    run: (x, w) => ops.linear(x, w),
  },
  layerNorm: { shapes: [[2, 3, 5]], run: (x) => ops.layerNorm(x) },
  'layerNorm, affine': { shapes: [[2, 3, 5], [5], [5]], run: (x, scale, bias) => ops.layerNorm(x, { scale, bias }) },
  layerNormModulate: {
    shapes: [
      [2, 3, 5],
      [2, 5],
      [2, 5],
    ],
    run: (x, b, s) => ops.layerNormModulate(x, b, s),
  },
  modulate: {
    shapes: [
      [2, 3, 5],
      [2, 5],
      [2, 5],
    ],
    run: (x, b, s) => ops.modulate(x, b, s),
  },
  gatedResidual: {
    shapes: [
      [2, 3, 5],
      [2, 5],
      [2, 3, 5],
    ],
    run: (x, g, b) => ops.gatedResidual(x, g, b),
  },
  rmsNorm: { shapes: [[2, 3, 5], [5]], run: (x, s) => ops.rmsNorm(x, s) },
  attention: {
    shapes: [
      [2, 2, 3, 4],
      [2, 2, 5, 4],
      [2, 2, 5, 4],
    ],
    run: (q, k, v) => ops.attention(q, k, v),
  },
  'attention in chunks': {
    shapes: [
      [1, 2, 5, 4],
      [1, 2, 5, 4],
      [1, 2, 5, 4],
    ],
    run: (q, k, v) => ops.attention(q, k, v, { queriesPerChunk: 2 }),
  },
  silu: { shapes: [[3, 4]], run: (x) => ops.silu(x) },
  'gelu, tanh': { shapes: [[3, 4]], run: (x) => ops.gelu(x) },
  'gelu, exact': { shapes: [[3, 4]], run: (x) => ops.gelu(x, 'none') },
  swiglu: {
    shapes: [
      [3, 4],
      [2, 4, 3],
      [3, 4],
    ],
    run: (x, a, b) => ops.swiglu(x, a, b),
  },
  embedding: { shapes: [[3, 4]], run: (t) => ops.embedding(t, tf.reshape(ids(), [2, 2])) },
  gatherRows: { shapes: [[3, 2, 2]], run: (x) => ops.gatherRows(x, ids()) },
  permuteRows: { shapes: [[3, 4]], run: (x) => ops.permuteRows(x, tf.tensor1d([2, 0, 1], 'int32'), tf.tensor1d([1, 2, 0], 'int32')) },
  topK: { shapes: [[3, 5]], run: (x) => ops.topK(x, 2).values },
  'sum of one axis': { shapes: [[2, 3, 4]], run: (x) => ops.sum(x, 1) },
  'mean of all': { shapes: [[2, 3]], run: (x) => ops.mean(x) },
  'mean, kept axes': { shapes: [[2, 3, 4]], run: (x) => ops.mean(x, [0, 2], true) },
  broadcastTo: { shapes: [[3, 1]], run: (x) => ops.broadcastTo(x, [2, 3, 4]) },
  'cumsum, first axis': { shapes: [[3, 3]], run: (x) => ops.cumsum(x, 0) },
  'cumsum, exclusive, reverse': { shapes: [[2, 3, 2]], run: (x) => ops.cumsum(x, 1, { exclusive: true, reverse: true }) },
  patchify: { shapes: [[2, 3, 4, 6]], run: (x) => ops.patchify(x, 2) },
  groupNorm: { shapes: [[2, 2, 3, 4]], run: (x) => ops.groupNorm(x, 2) },
  'groupNorm, affine': { shapes: [[2, 2, 3, 4], [4], [4]], run: (x, scale, bias) => ops.groupNorm(x, 2, { scale, bias }) },
  'conv2d, same': { shapes: [[1, 4, 5, 2], [3, 3, 2, 3], [3]], run: (x, w, bias) => ops.conv2d(x, w, { bias }) },
  'conv2d, stride 2, zeros right and below': {
    shapes: [
      [1, 4, 6, 2],
      [3, 3, 2, 2],
    ],
    run: (x, w) =>
      ops.conv2d(x, w, {
        stride: 2,
        padding: [
          [0, 1],
          [0, 1],
        ],
      }),
  },
  'conv2d, valid': {
    shapes: [
      [2, 4, 5, 2],
      [2, 3, 2, 3],
    ],
    run: (x, w) => ops.conv2d(x, w, { padding: 'valid' }),
  },
  'conv2d, stride 2, same': {
    shapes: [
      [1, 4, 5, 2],
      [3, 3, 2, 2],
    ],
    run: (x, w) => ops.conv2d(x, w, { stride: 2 }),
  },
  ...Object.fromEntries(
    (['nearest', 'bilinear'] as const).flatMap((method) =>
      (['half-pixel', 'align-corners', 'tf1'] as const).flatMap((centres) =>
        (
          [
            [7, 2],
            [2, 9],
          ] as const
        ).map((size): [string, OpCase] => [
          `resizeImages, ${method}, ${centres}, to ${size.join(' x ')}`,
          { shapes: [[2, 3, 4, 2]], run: (x) => ops.resizeImages(x, size, { method, centres }) },
        ]),
      ),
    ),
  ),
  // tfjs' own, which needs nothing from here; checked because the other packages rely on it.
  'tf.where, broadcast': {
    shapes: [
      [2, 3],
      [2, 1],
    ],
    run: (a, b) => tf.where(tf.tensor2d([[1, 0, 1]], [1, 3], 'bool'), a, b),
  },
  unpatchify: { shapes: [[2, 6, 12]], run: (x) => ops.unpatchify(x, 2, 3, [2, 3]) },
};

/** The ops whose products may be bfloat16, in bfloat16. */
export const bf16Cases: Record<string, OpCase> = {
  linear: { shapes: [[4, 16], [16, 8], [8]], run: (x, w, b) => ops.linear(x, w, b, { precision: 'bf16' }) },
  swiglu: {
    shapes: [
      [4, 16],
      [2, 16, 6],
      [6, 16],
    ],
    run: (x, a, b) => ops.swiglu(x, a, b, { precision: 'bf16' }),
  },
  attention: {
    shapes: [
      [1, 2, 4, 8],
      [1, 2, 4, 8],
      [1, 2, 4, 8],
    ],
    run: (q, k, v) => ops.attention(q, k, v, { precision: 'bf16' }),
  },
  conv2d: { shapes: [[1, 4, 4, 2], [3, 3, 2, 3], [3]], run: (x, w, bias) => ops.conv2d(x, w, { bias, precision: 'bf16' }) },
};

/** What a case gives. */
export interface OpOutcome {
  /** The weighted sum of the output whose gradients these are. */
  value: number;
  output: Float32Array;
  /** By input. */
  grads: Float32Array[];
}

/** The inputs of a case, the same on every backend. */
export const inputsOf = (c: OpCase): Float32Array[] => c.shapes.map((shape, i) => numbers(shape, i));

/** A case with tensors; the value is a weighted sum of the output, so that every output entry has a gradient of its own. */
function tensorsOf(c: OpCase, inputs: readonly Float32Array[]): tf.Tensor[] {
  return tf.tidy(() => {
    const tensors = c.shapes.map((shape, i) => tf.tensor(inputs[i], shape));
    let output: tf.Tensor | undefined;
    const { value, grads } = tf.valueAndGrads((...xs: tf.Tensor[]) => {
      const y = c.run(...xs);
      output = tf.keep(tf.clone(y));
      return tf.sum(tf.mul(y, tf.tensor(numbers(y.shape, 99), y.shape)));
    })(tensors);
    return [value, output!, ...grads];
  });
}

const outcome = ([value, output, ...grads]: Float32Array[]): OpOutcome => ({ value: value[0], output: output, grads });

/** Value, output and gradients of a case on the current backend. */
export function evaluateCase(c: OpCase, inputs: readonly Float32Array[]): OpOutcome {
  const tensors = tensorsOf(c, inputs);
  const read = outcome(tensors.map((tensor) => tensor.dataSync() as Float32Array));
  tf.dispose(tensors);
  return read;
}

/** {@link evaluateCase} for backends that cannot be read at once. */
export async function evaluateCaseAsync(c: OpCase, inputs: readonly Float32Array[]): Promise<OpOutcome> {
  const tensors = tensorsOf(c, inputs);
  const read = outcome((await Promise.all(tensors.map((tensor) => tensor.data()))) as Float32Array[]);
  tf.dispose(tensors);
  return read;
}
