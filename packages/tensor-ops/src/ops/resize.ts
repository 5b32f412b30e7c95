/**
 * Resizing of channels-last images without antialiasing.
 *
 * The values are tfjs' own. Its gradients ignore half-pixel centres, so they are written here: resizing is linear and acts on
 * rows and columns one after the other, thus the gradient is two products with transposed weights.
 */
import * as tf from '@tensorflow/tfjs-core';
import { ArgumentError, ShapeError } from '../errors.js';
import { tensorFlowBackend } from '../tensorflow-backend.js';
import { customGradient } from './custom-gradient.js';

/**
 * Where the pixels lie. For output pixel `i` of `to`, and `from` input pixels, the place in the input is
 * - `half-pixel`: `(i + 1/2) from / to - 1/2` (TensorFlow 2; PyTorch's `align_corners=False`, its `nearest-exact`);
 * - `align-corners`: `i (from - 1) / (to - 1)` (PyTorch's `align_corners=True`);
 * - `tf1`: `i from / to` (TensorFlow 1, so the original Inception graph; PyTorch's `nearest`).
 */
export type PixelCentres = 'half-pixel' | 'align-corners' | 'tf1';

/** How pixels are resampled. */
export interface ResizeOptions {
  /** Default `bilinear`. */
  method?: 'nearest' | 'bilinear';
  /** Default `half-pixel`. */
  centres?: PixelCentres;
}

/**
 * Resizes images.
 *
 * @param x `[B, H, W, C]`, float32
 * @returns `[B, height, width, C]`
 * @throws ShapeError if `x` is not of rank 4, ArgumentError for a size that is not a positive integer
 */
export function resizeImages(x: tf.Tensor, [height, width]: readonly [number, number], options: ResizeOptions = {}): tf.Tensor {
  const { method = 'bilinear', centres = 'half-pixel' } = options;
  if (x.rank !== 4) throw new ShapeError('resizeImages', '[B, H, W, C]', x.shape);
  for (const size of [height, width])
    if (!Number.isInteger(size) || size < 1) throw new ArgumentError('resizeImages: size', 'positive integers', size);
  const [, rows, columns] = x.shape as [number, number, number, number];
  const backend = tensorFlowBackend();
  return customGradient(
    [x as tf.Tensor4D],
    ([x]) => {
      const resize = method === 'nearest' ? tf.image.resizeNearestNeighbor : tf.image.resizeBilinear;
      const value = resize(x, [height, width], centres === 'align-corners', centres === 'half-pixel');
      // TensorFlow's gradient of `bilinear` wants the images, for their shape only.
      return { value, saved: [backend !== undefined && method === 'bilinear' ? x : undefined] };
    },
    (dy, [images]) => {
      if (backend === undefined)
        return [alongAxis(alongAxis(dy, 1, weights(rows, height, method, centres)), 2, weights(columns, width, method, centres))];
      const attributes = { align_corners: { bool: centres === 'align-corners' }, half_pixel_centers: { bool: centres === 'half-pixel' } };
      return images === undefined
        ? [backend.raw('ResizeNearestNeighborGrad', [dy, tf.tensor1d([rows, columns], 'int32')], attributes)[0]]
        : [backend.raw('ResizeBilinearGrad', [dy, images], attributes)[0]];
    },
  );
}

/** Place in the input of output pixel `i`, in float32 as TensorFlow computes it; `half-pixel` without the last `- 1/2`. */
function place(i: number, from: number, to: number, centres: PixelCentres): number {
  const scale = Math.fround(centres === 'align-corners' && to > 1 ? (from - 1) / (to - 1) : from / to);
  return Math.fround((centres === 'half-pixel' ? i + 0.5 : i) * scale);
}

function nearest(i: number, from: number, to: number, centres: PixelCentres): number {
  const at = place(i, from, to, centres);
  return Math.min(from - 1, centres === 'align-corners' ? Math.round(at) : Math.floor(at));
}

/** `[from, to]`: how much each input pixel counts in each output pixel. */
function weights(from: number, to: number, method: 'nearest' | 'bilinear', centres: PixelCentres): tf.Tensor2D {
  const values = new Float32Array(from * to);
  for (let i = 0; i < to; i++) {
    if (method === 'nearest') {
      values[nearest(i, from, to, centres) * to + i] = 1;
      continue;
    }
    const at = place(i, from, to, centres) - (centres === 'half-pixel' ? 0.5 : 0);
    const share = at - Math.floor(at);
    values[Math.max(0, Math.floor(at)) * to + i] += 1 - share;
    values[Math.min(from - 1, Math.floor(at) + 1) * to + i] += share;
  }
  return tf.tensor2d(values, [from, to]);
}

/** The matrix applied to one axis of `x` `[B, H, W, C]`. */
function alongAxis(x: tf.Tensor, axis: 1 | 2, matrix: tf.Tensor2D): tf.Tensor {
  const order = axis === 1 ? [1, 0, 2, 3] : [2, 0, 1, 3];
  const first = tf.transpose(x, order);
  const product = tf.matMul(matrix, tf.reshape(first, [x.shape[axis]!, -1]) as tf.Tensor2D);
  return tf.transpose(tf.reshape(product, [matrix.shape[0], ...first.shape.slice(1)]), axis === 1 ? order : [1, 2, 0, 3]);
}
