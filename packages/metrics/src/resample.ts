/** Separable resampling by weight matrices: averages of boxes, and the antialiased bicubic filter of jax.image.resize. */
import * as tf from '@tensorflow/tfjs-core';

/** Weight of the pixel `[left, left + 1]` for an output pixel whose filter has this centre and width. */
type Kernel = { weight(left: number, centre: number, width: number): number; support: number };

const kernels = {
  /** The part of the pixel that the box covers. */
  box: {
    weight: (left, centre, width) => Math.max(0, Math.min(left + 1, centre + width / 2) - Math.max(left, centre - width / 2)),
    support: 0.5,
  },
  /** Keys' cubic with a = -1/2. */
  bicubic: {
    weight(left, centre, width) {
      const x = Math.abs(left + 0.5 - centre) / width;
      if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
      return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
    },
    support: 2,
  },
} as const satisfies Record<string, Kernel>;
/** Name of a filter of resampling. */
export type ResampleKernel = keyof typeof kernels;

/** Weights `[to, from]`; the filter is widened when the image shrinks, and weights outside of the image are left out. */
function resampleWeights(from: number, to: number, kernel: ResampleKernel): Float32Array {
  const { weight, support } = kernels[kernel];
  const scale = from / to;
  const width = Math.max(1, scale);
  const weights = new Float32Array(to * from);
  for (let i = 0; i < to; i++) {
    const centre = (i + 0.5) * scale;
    const row = new Float64Array(from);
    const first = Math.max(0, Math.floor(centre - support * width));
    const last = Math.min(from - 1, Math.ceil(centre + support * width));
    let sum = 0;
    for (let j = first; j <= last; j++) {
      row[j] = weight(j, centre, width);
      sum += row[j];
    }
    for (let j = first; j <= last; j++) weights[i * from + j] = row[j] / sum;
  }
  return weights;
}

/**
 * Resizes images in float32, on the device; `resize` of `@dit-moe/data` is Pillow's for 8 bits.
 *
 * @param images `[B, H, W, C]`, 0 ... 255
 * @returns `[B, height, width, C]`, float32
 */
export function resample(images: tf.Tensor4D, [height, width]: readonly [number, number], kernel: ResampleKernel): tf.Tensor4D {
  return tf.tidy(() => {
    const [batch, rows, columns, channels] = images.shape;
    let x: tf.Tensor = tf.cast(images, 'float32');
    if (columns !== width) {
      const weights = tf.tensor2d(resampleWeights(columns, width, kernel), [width, columns]);
      const flat = tf.reshape(tf.transpose(x, [0, 1, 3, 2]), [-1, columns]) as tf.Tensor2D; // [B H C, W]
      x = tf.transpose(tf.reshape(tf.matMul(flat, weights, false, true), [batch, rows, channels, width]), [0, 1, 3, 2]);
    }
    if (rows !== height) {
      const weights = tf.tensor2d(resampleWeights(rows, height, kernel), [height, rows]);
      const flat = tf.reshape(tf.transpose(x, [0, 2, 3, 1]), [-1, rows]) as tf.Tensor2D; // [B W C, H]
      x = tf.transpose(tf.reshape(tf.matMul(flat, weights, false, true), [batch, width, channels, height]), [0, 3, 1, 2]);
    }
    return x as tf.Tensor4D;
  });
}
