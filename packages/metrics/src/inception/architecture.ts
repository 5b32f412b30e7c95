/**
 * The Inception network of FID (TensorFlow's `inception-2015-12-05` graph, as torch-fidelity and pytorch-fid name its weights).
 *
 * Against torchvision's InceptionV3: average pools leave the padding out, the pool branch of Mixed_7c takes the maximum, there
 * are 1008 logits and no auxiliary head. Batch norms are folded into the convolutions' weights (see `weights.ts`).
 */
import * as tf from '@tensorflow/tfjs-core';

/** Kernel sizes `[height, width]`, channels in and out of every convolution, by the name its weights have. */
export const convolutions: ReadonlyMap<string, readonly [height: number, width: number, inputs: number, outputs: number]> =
  listConvolutions();

/** Length of the pooled features, and number of logits. */
export const POOL_FEATURES = 2048;
export const LOGITS = 1008;

/** A convolution with its folded batch norm. */
export interface FoldedConvolution {
  /** `[kh, kw, Cin, Cout]` */
  filter: tf.Tensor4D;
  /** `[Cout]` */
  bias: tf.Tensor1D;
}

/** Weights of FID's Inception network, batch norms folded into convolutions. */
export interface InceptionWeights {
  convolutions: Readonly<Record<string, FoldedConvolution>>;
  /** `[2048, 1008]` */
  fc: tf.Tensor2D;
  /** `[1008]` */
  fcBias: tf.Tensor1D;
}

/** What the metrics read from the network. */
export interface InceptionOutput {
  /** Global average of Mixed_7c: `[B, 2048]`, for FID, KID, precision and recall. */
  pool: tf.Tensor2D;
  /** First 7 channels of Mixed_6d.branch1x1, flattened height first: `[B, 2023]`, for sFID as ADM's evaluator defines it. */
  spatial: tf.Tensor2D;
  /** Without the bias, as ADM's evaluator computes the Inception Score: `[B, 1008]`. */
  logits: tf.Tensor2D;
}

/** Receives each layer's output, `[B, H, W, C]`. */
export type LayerTrace = (layer: string, value: tf.Tensor4D) => void;

/** Channels of Mixed_6d.branch1x1 that sFID takes. */
const SPATIAL_CHANNELS = 7;

/**
 * Runs the network.
 *
 * @param x `[B, 299, 299, 3]`, (v - 128) / 128 of RGB values 0 ... 255; see `resizeForInception`
 */
export function inception(weights: InceptionWeights, x: tf.Tensor4D, trace: LayerTrace = () => {}): InceptionOutput {
  const layer = (name: string, value: tf.Tensor4D): tf.Tensor4D => {
    trace(name, value);
    return value;
  };
  /** Strided convolutions take no padding, all others keep the size unless told. */
  const convolve = (name: string, input: tf.Tensor4D, strides: 1 | 2 = 1, pad: 'same' | 'valid' = strides === 2 ? 'valid' : 'same') => {
    const { filter, bias } = weights.convolutions[name];
    return layer(name, tf.relu(tf.add(tf.conv2d(input, filter, strides, pad), bias)) as tf.Tensor4D);
  };
  const chain = (input: tf.Tensor4D, ...names: string[]): tf.Tensor4D => names.reduce((h, name) => convolve(name, h), input);
  const halve = (input: tf.Tensor4D): tf.Tensor4D => tf.maxPool(input, 3, 2, 'valid');
  // TensorFlow's average divides by the number of pixels inside the image.
  const average = (input: tf.Tensor4D): tf.Tensor4D => tf.avgPool(input, 3, 1, 'same');
  const join = (name: string, parts: tf.Tensor4D[]): tf.Tensor4D => layer(name, tf.concat(parts, 3));

  const blockA = (name: string, h: tf.Tensor4D) =>
    join(name, [
      convolve(`${name}.branch1x1`, h),
      chain(h, `${name}.branch5x5_1`, `${name}.branch5x5_2`),
      chain(h, `${name}.branch3x3dbl_1`, `${name}.branch3x3dbl_2`, `${name}.branch3x3dbl_3`),
      convolve(`${name}.branch_pool`, average(h)),
    ]);
  const blockC = (name: string, h: tf.Tensor4D) =>
    join(name, [
      convolve(`${name}.branch1x1`, h),
      chain(h, `${name}.branch7x7_1`, `${name}.branch7x7_2`, `${name}.branch7x7_3`),
      chain(h, ...[1, 2, 3, 4, 5].map((i) => `${name}.branch7x7dbl_${i}`)),
      convolve(`${name}.branch_pool`, average(h)),
    ]);
  const blockE = (name: string, h: tf.Tensor4D, pooled: tf.Tensor4D) => {
    const wide = convolve(`${name}.branch3x3_1`, h);
    const double = chain(h, `${name}.branch3x3dbl_1`, `${name}.branch3x3dbl_2`);
    return join(name, [
      convolve(`${name}.branch1x1`, h),
      convolve(`${name}.branch3x3_2a`, wide),
      convolve(`${name}.branch3x3_2b`, wide),
      convolve(`${name}.branch3x3dbl_3a`, double),
      convolve(`${name}.branch3x3dbl_3b`, double),
      convolve(`${name}.branch_pool`, pooled),
    ]);
  };

  let h = convolve('Conv2d_1a_3x3', x, 2);
  h = convolve('Conv2d_2b_3x3', convolve('Conv2d_2a_3x3', h, 1, 'valid'));
  h = layer('MaxPool_1', halve(h));
  h = convolve('Conv2d_4a_3x3', convolve('Conv2d_3b_1x1', h), 1, 'valid');
  h = layer('MaxPool_2', halve(h));
  for (const name of ['Mixed_5b', 'Mixed_5c', 'Mixed_5d']) h = blockA(name, h);
  const doubled = chain(h, 'Mixed_6a.branch3x3dbl_1', 'Mixed_6a.branch3x3dbl_2');
  h = join('Mixed_6a', [convolve('Mixed_6a.branch3x3', h, 2), convolve('Mixed_6a.branch3x3dbl_3', doubled, 2), halve(h)]);
  let spatial: tf.Tensor4D | undefined;
  for (const name of ['Mixed_6b', 'Mixed_6c', 'Mixed_6d', 'Mixed_6e']) {
    const input = h;
    h = blockC(name, input);
    // The block's first channels are its 1x1 branch.
    if (name === 'Mixed_6d') spatial = tf.slice(h, [0, 0, 0, 0], [-1, -1, -1, SPATIAL_CHANNELS]);
  }
  const threes = convolve('Mixed_7a.branch3x3_1', h);
  const sevens = chain(h, 'Mixed_7a.branch7x7x3_1', 'Mixed_7a.branch7x7x3_2', 'Mixed_7a.branch7x7x3_3');
  h = join('Mixed_7a', [convolve('Mixed_7a.branch3x3_2', threes, 2), convolve('Mixed_7a.branch7x7x3_4', sevens, 2), halve(h)]);
  h = blockE('Mixed_7b', h, average(h));
  h = blockE('Mixed_7c', h, tf.maxPool(h, 3, 1, 'same'));
  const pool = tf.mean(h, [1, 2]) as tf.Tensor2D;
  return { pool, spatial: tf.reshape(spatial!, [x.shape[0], -1]), logits: tf.matMul(pool, weights.fc) };
}

function listConvolutions() {
  const table = new Map<string, readonly [number, number, number, number]>();
  const add = (name: string, height: number, width: number, inputs: number, outputs: number) =>
    table.set(name, [height, width, inputs, outputs]);
  add('Conv2d_1a_3x3', 3, 3, 3, 32);
  add('Conv2d_2a_3x3', 3, 3, 32, 32);
  add('Conv2d_2b_3x3', 3, 3, 32, 64);
  add('Conv2d_3b_1x1', 1, 1, 64, 80);
  add('Conv2d_4a_3x3', 3, 3, 80, 192);
  for (const [block, inputs, pooled] of [
    ['Mixed_5b', 192, 32],
    ['Mixed_5c', 256, 64],
    ['Mixed_5d', 288, 64],
  ] as const) {
    add(`${block}.branch1x1`, 1, 1, inputs, 64);
    add(`${block}.branch5x5_1`, 1, 1, inputs, 48);
    add(`${block}.branch5x5_2`, 5, 5, 48, 64);
    add(`${block}.branch3x3dbl_1`, 1, 1, inputs, 64);
    add(`${block}.branch3x3dbl_2`, 3, 3, 64, 96);
    add(`${block}.branch3x3dbl_3`, 3, 3, 96, 96);
    add(`${block}.branch_pool`, 1, 1, inputs, pooled);
  }
  add('Mixed_6a.branch3x3', 3, 3, 288, 384);
  add('Mixed_6a.branch3x3dbl_1', 1, 1, 288, 64);
  add('Mixed_6a.branch3x3dbl_2', 3, 3, 64, 96);
  add('Mixed_6a.branch3x3dbl_3', 3, 3, 96, 96);
  for (const [block, width] of [
    ['Mixed_6b', 128],
    ['Mixed_6c', 160],
    ['Mixed_6d', 160],
    ['Mixed_6e', 192],
  ] as const) {
    add(`${block}.branch1x1`, 1, 1, 768, 192);
    add(`${block}.branch7x7_1`, 1, 1, 768, width);
    add(`${block}.branch7x7_2`, 1, 7, width, width);
    add(`${block}.branch7x7_3`, 7, 1, width, 192);
    add(`${block}.branch7x7dbl_1`, 1, 1, 768, width);
    add(`${block}.branch7x7dbl_2`, 7, 1, width, width);
    add(`${block}.branch7x7dbl_3`, 1, 7, width, width);
    add(`${block}.branch7x7dbl_4`, 7, 1, width, width);
    add(`${block}.branch7x7dbl_5`, 1, 7, width, 192);
    add(`${block}.branch_pool`, 1, 1, 768, 192);
  }
  add('Mixed_7a.branch3x3_1', 1, 1, 768, 192);
  add('Mixed_7a.branch3x3_2', 3, 3, 192, 320);
  add('Mixed_7a.branch7x7x3_1', 1, 1, 768, 192);
  add('Mixed_7a.branch7x7x3_2', 1, 7, 192, 192);
  add('Mixed_7a.branch7x7x3_3', 7, 1, 192, 192);
  add('Mixed_7a.branch7x7x3_4', 3, 3, 192, 192);
  for (const [block, inputs] of [
    ['Mixed_7b', 1280],
    ['Mixed_7c', 2048],
  ] as const) {
    add(`${block}.branch1x1`, 1, 1, inputs, 320);
    add(`${block}.branch3x3_1`, 1, 1, inputs, 384);
    add(`${block}.branch3x3_2a`, 1, 3, 384, 384);
    add(`${block}.branch3x3_2b`, 3, 1, 384, 384);
    add(`${block}.branch3x3dbl_1`, 1, 1, inputs, 448);
    add(`${block}.branch3x3dbl_2`, 3, 3, 448, 384);
    add(`${block}.branch3x3dbl_3a`, 1, 3, 384, 384);
    add(`${block}.branch3x3dbl_3b`, 3, 1, 384, 384);
    add(`${block}.branch_pool`, 1, 1, inputs, 192);
  }
  return table;
}
