/**
 * 2-D convolution of channels-last images. On the TensorFlow runtime its ops are called directly, in float32 or bfloat16; elsewhere
 * tfjs' kernel and gradients are used. The wasm backend has no gradient of the filter, which is built from matrix products there.
 */
import * as tf from '@tensorflow/tfjs-core';
import { ShapeError } from '../errors.js';
import { type TensorFlowBackend, tensorFlowBackend } from '../tensorflow-backend.js';
import { customGradient } from './custom-gradient.js';
import { concat, type Precision, toF32, toProductType, usesBf16 } from './raw-math.js';
import { isRounded, padMaps } from './rounded-maps.js';

/** `same` and `valid` as TensorFlow defines them, or `[[top, bottom], [left, right]]` zeros. */
export type Padding = 'same' | 'valid' | Zeros;

/** Zeros above and below, and left and right. */
type Zeros = readonly [readonly [number, number], readonly [number, number]];

/** Geometry and precision of a convolution. */
export interface ConvolutionOptions {
  /** Step in both directions (default 1). */
  stride?: number;
  /** Default `same`. */
  padding?: Padding;
  /** `[Cout]` (default: none). */
  bias?: tf.Tensor;
  /** Precision of the products (default `f32`); only the TensorFlow runtime has bf16, elsewhere it is float32. */
  precision?: Precision;
}

/**
 * Convolves (cross-correlates, as every deep-learning library).
 *
 * @param x `[B, H, W, Cin]`
 * @param filter `[kh, kw, Cin, Cout]`, or one made by {@link packFilter}
 * @returns `[B, H', W', Cout]`, float32; raw bfloat16 and without a gradient if `x` is
 * @throws ShapeError if the channels differ
 */
export function conv2d(x: tf.Tensor, filter: tf.Tensor, options: ConvolutionOptions = {}): tf.Tensor {
  const { stride = 1, padding = 'same', bias, precision } = options;
  const [rows, columns, inputs] = filter.shape.slice(-4) as [number, number, number, number];
  if (x.rank !== 4 || (filter.rank !== 4 && filter.rank !== 5) || x.shape[3] !== inputs)
    throw new ShapeError('conv2d', `x [B, H, W, ${inputs}] for the filter [${filter.shape}]`, x.shape);
  const same = sameZeros(x, [rows, columns], stride);
  const wanted = padding === 'same' ? same : padding === 'valid' ? NONE : padding;
  const backend = tensorFlowBackend();
  // The runtime pads by itself where TensorFlow's `SAME` says the same; elsewhere explicit zeros once, then `valid`.
  const itself = backend !== undefined && padding !== 'valid' && wanted.flat().join() === same.flat().join();
  if (backend !== undefined && isRounded(x)) return convolveRounded(backend, x, filter, options, itself ? 'SAME' : wanted);
  const padded = itself || wanted.flat().every((n) => n === 0) ? x : tf.pad(x, [[0, 0], [...wanted[0]], [...wanted[1]], [0, 0]]);
  if (backend === undefined) {
    const y = convolveValid(padded as tf.Tensor4D, (filter.rank === 5 ? unpackFilter(filter) : filter) as tf.Tensor4D, stride);
    return bias === undefined ? y : tf.add(y, bias);
  }
  const attributes = {
    strides: { ints: [1, stride, stride, 1] },
    padding: { string: itself ? 'SAME' : 'VALID' },
    data_format: { string: 'NHWC' },
  };
  return filter.rank === 5
    ? convolvePacked(backend, padded, filter, bias, attributes, precision)
    : convolveNative(backend, padded, filter, bias, attributes, precision);
}

/** Outputs of one block of a packed filter: as many floats as a cache line times four, where the CPU's kernels are fastest. */
const PACKED_OUTPUTS = 64;

/**
 * A filter cut into blocks of output channels, `[blocks, kh, kw, Cin, 64]`: on CPUs float32 convolutions with 256 or more outputs run
 * up to twice as fast, because the rows of a block are close together. For inference only: it has no gradient.
 * @param filter `[kh, kw, Cin, Cout]`; returned unchanged (cloned) where packing does not help or does not fit
 */
export function packFilter(filter: tf.Tensor): tf.Tensor {
  const [rows, columns, inputs, outputs] = filter.shape as [number, number, number, number];
  if (
    tensorFlowBackend()?.isUsingGpuDevice !== false ||
    outputs < 4 * PACKED_OUTPUTS ||
    outputs % PACKED_OUTPUTS !== 0 ||
    rows * columns === 1
  )
    return tf.clone(filter);
  const blocks = outputs / PACKED_OUTPUTS;
  return tf.tidy(() =>
    tf.reshape(tf.transpose(tf.reshape(filter, [rows * columns * inputs, blocks, PACKED_OUTPUTS]), [1, 0, 2]), [
      blocks,
      rows,
      columns,
      inputs,
      PACKED_OUTPUTS,
    ]),
  );
}

function unpackFilter(filter: tf.Tensor): tf.Tensor {
  const [blocks, rows, columns, inputs, width] = filter.shape as [number, number, number, number, number];
  return tf.reshape(tf.transpose(filter, [1, 2, 3, 0, 4]), [rows, columns, inputs, blocks * width]);
}

type Attributes = Parameters<TensorFlowBackend['raw']>[2];

function convolvePacked(
  backend: TensorFlowBackend,
  x: tf.Tensor,
  filter: tf.Tensor,
  bias: tf.Tensor | undefined,
  attributes: Attributes,
  precision: Precision | undefined,
): tf.Tensor {
  const low = usesBf16(backend, filter, precision);
  const blocks = filter.shape[0];
  const forward = () => {
    const xs = toProductType(backend, x, low);
    const unpack = (y: tf.Tensor): tf.Tensor[] => backend.raw('Unpack', [y], { num: { int: blocks }, axis: { int: 0 } }, blocks);
    const filters = unpack(toProductType(backend, filter, low));
    const biases =
      bias === undefined ? undefined : unpack(backend.raw('Reshape', [bias, tf.tensor1d([blocks, bias.size / blocks], 'int32')])[0]);
    const parts = filters.map((part, i) => {
      const y = toF32(backend, backend.raw('Conv2D', [xs, part], attributes)[0]);
      return biases === undefined ? y : backend.raw('BiasAdd', [y, biases[i]])[0];
    });
    return { value: concat(backend, parts, 3), saved: [] };
  };
  return customGradient([x, filter, bias], forward, () => {
    throw new Error('A packed filter has no gradient: train with plain filters.');
  });
}

function convolveNative(
  backend: TensorFlowBackend,
  x: tf.Tensor,
  filter: tf.Tensor,
  bias: tf.Tensor | undefined,
  attributes: Attributes,
  precision: Precision | undefined,
): tf.Tensor {
  const low = usesBf16(backend, filter, precision);
  const round = (y: tf.Tensor): tf.Tensor => toProductType(backend, y, low);
  return customGradient(
    [x, filter, bias],
    (inputs) => {
      const [x, filter] = [round(inputs[0]), round(inputs[1])];
      const y = toF32(backend, backend.raw('Conv2D', [x, filter], attributes)[0]);
      return { value: bias === undefined ? y : backend.raw('BiasAdd', [y, bias])[0], saved: [x, filter] };
    },
    (dy, [x, filter]) => {
      const d = round(dy);
      const sizes = (z: tf.Tensor): tf.Tensor => tf.tensor1d(z.shape, 'int32');
      return [
        toF32(backend, backend.raw('Conv2DBackpropInput', [sizes(x), filter, d], attributes)[0]),
        toF32(backend, backend.raw('Conv2DBackpropFilter', [x, sizes(filter), d], attributes)[0]),
        bias && backend.raw('BiasAddGrad', [dy])[0],
      ];
    },
  );
}

/** Everything in bfloat16, sums inside a convolution excepted. */
function convolveRounded(
  backend: TensorFlowBackend,
  x: tf.Tensor,
  filter: tf.Tensor,
  { stride = 1, bias }: ConvolutionOptions,
  padding: 'SAME' | Zeros,
): tf.Tensor {
  // The runtime takes a `Pad` into the convolution behind it.
  const padded = padding === 'SAME' || padding.flat().every((n) => n === 0) ? x : padMaps(x, [[0, 0], ...padding, [0, 0]]);
  const y = backend.raw('Conv2D', [padded, toProductType(backend, filter, true)], {
    strides: { ints: [1, stride, stride, 1] },
    padding: { string: padding === 'SAME' ? 'SAME' : 'VALID' },
    data_format: { string: 'NHWC' },
  })[0];
  return bias === undefined ? y : backend.raw('BiasAdd', [y, toProductType(backend, bias, true)])[0];
}

const NONE: Zeros = [
  [0, 0],
  [0, 0],
];

/** Zeros that TensorFlow's `SAME` adds; more behind than in front. */
function sameZeros(x: tf.Tensor, kernel: readonly [number, number], stride: number): Zeros {
  const total = (size: number, extent: number): readonly [number, number] => {
    const sum = Math.max(0, (Math.ceil(size / stride) - 1) * stride + extent - size);
    return [Math.floor(sum / 2), sum - Math.floor(sum / 2)];
  };
  return [total(x.shape[1]!, kernel[0]), total(x.shape[2]!, kernel[1])];
}

function convolveValid(x: tf.Tensor4D, filter: tf.Tensor4D, stride: number): tf.Tensor {
  if (tf.getKernel('Conv2DBackpropFilter', tf.getBackend()) !== undefined) return tf.conv2d(x, filter, stride, 'valid');
  return customGradient(
    [x, filter],
    ([x, filter]) => ({ value: tf.conv2d(x, filter, stride, 'valid'), saved: [x, filter] }),
    (dy, [x, filter]) => [
      tf.conv2dTranspose(dy as tf.Tensor4D, filter, x.shape, stride, 'valid'),
      filterGradient(x, dy as tf.Tensor4D, filter.shape, stride),
    ],
  );
}

/** For each tap of the filter: the pixels it saw, times the gradient of what it contributed to. */
function filterGradient(x: tf.Tensor4D, dy: tf.Tensor4D, shape: [number, number, number, number], stride: number): tf.Tensor {
  const [rows, columns, inputs, outputs] = shape;
  const [batch, height, width] = dy.shape;
  const d = tf.reshape(dy, [-1, outputs]) as tf.Tensor2D;
  const taps: tf.Tensor[] = [];
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) {
      const seen = tf.stridedSlice(
        x,
        [0, i, j, 0],
        [batch, i + (height - 1) * stride + 1, j + (width - 1) * stride + 1, inputs],
        [1, stride, stride, 1],
      );
      taps.push(tf.matMul(tf.transpose(tf.reshape(seen, [-1, inputs])) as tf.Tensor2D, d));
    }
  }
  return tf.reshape(tf.stack(taps), shape);
}
