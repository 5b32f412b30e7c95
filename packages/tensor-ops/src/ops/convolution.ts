/**
 * 2-D convolution of channels-last images. tfjs' own kernel and gradients are used where they exist; the wasm backend has no
 * gradient of the filter, which is built from matrix products there.
 */
import * as tf from '@tensorflow/tfjs-core';
import { ShapeError } from '../errors.js';

/** `same` and `valid` as TensorFlow defines them, or `[[top, bottom], [left, right]]` zeros. */
export type Padding = 'same' | 'valid' | Zeros;

/** Zeros above and below, and left and right. */
type Zeros = readonly [readonly [number, number], readonly [number, number]];

export interface ConvolutionOptions {
  /** Step in both directions (default 1). */
  stride?: number;
  /** Default `same`. */
  padding?: Padding;
  /** `[Cout]` (default: none). */
  bias?: tf.Tensor;
}

/**
 * Convolves (cross-correlates, as every deep-learning library).
 *
 * @param x `[B, H, W, Cin]`
 * @param filter `[kh, kw, Cin, Cout]`
 * @returns `[B, H', W', Cout]`
 * @throws ShapeError if the channels differ
 */
export function conv2d(x: tf.Tensor, filter: tf.Tensor, options: ConvolutionOptions = {}): tf.Tensor {
  if (x.rank !== 4 || filter.rank !== 4 || x.shape[3] !== filter.shape[2])
    throw new ShapeError('conv2d', `x [B, H, W, ${filter.shape[2]}] for the filter [${filter.shape}]`, x.shape);
  const { stride = 1, padding = 'same', bias } = options;
  const [[top, bottom], [left, right]] = zeros(x, filter, stride, padding);
  // Explicit zeros once, then `valid`: one convention on every backend.
  const padded =
    top + bottom + left + right === 0
      ? x
      : tf.pad(x, [
          [0, 0],
          [top, bottom],
          [left, right],
          [0, 0],
        ]);
  const y = convolveValid(padded as tf.Tensor4D, filter as tf.Tensor4D, stride);
  return bias === undefined ? y : tf.add(y, bias);
}

function zeros(x: tf.Tensor, filter: tf.Tensor, stride: number, padding: Padding): Zeros {
  if (padding === 'valid')
    return [
      [0, 0],
      [0, 0],
    ];
  if (padding !== 'same') return padding;
  const total = (size: number, kernel: number): readonly [number, number] => {
    const sum = Math.max(0, (Math.ceil(size / stride) - 1) * stride + kernel - size);
    return [Math.floor(sum / 2), sum - Math.floor(sum / 2)];
  };
  return [total(x.shape[1]!, filter.shape[0]!), total(x.shape[2]!, filter.shape[1]!)];
}

function convolveValid(x: tf.Tensor4D, filter: tf.Tensor4D, stride: number): tf.Tensor {
  if (tf.getKernel('Conv2DBackpropFilter', tf.getBackend()) !== undefined) return tf.conv2d(x, filter, stride, 'valid');
  return tf.customGrad((a, w, save) => {
    (save as tf.GradSaveFunc)([a as tf.Tensor, w as tf.Tensor]);
    const value = tf.conv2d(a as tf.Tensor4D, w as tf.Tensor4D, stride, 'valid');
    const gradFunc = (dy: tf.Tensor, [sa, sw]: tf.Tensor[]) => [
      tf.conv2dTranspose(dy as tf.Tensor4D, sw as tf.Tensor4D, x.shape, stride, 'valid'),
      filterGradient(sa as tf.Tensor4D, dy as tf.Tensor4D, filter.shape, stride),
    ];
    return { value, gradFunc };
  })(x, filter);
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
