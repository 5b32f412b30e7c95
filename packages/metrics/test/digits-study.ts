/**
 * How the Frechet distance behaves on real data: features of a small classifier of handwritten digits, between halves of the real
 * images, and from one half to the other with noise, blur and class imbalance.
 */

import { fileURLToPath } from 'node:url';
import type { Pixels } from '@dit-moe/data';
import { randomNormal } from '@dit-moe/tensor-ops';
import * as tf from '@tensorflow/tfjs';
import { collectFeatures, type ExtractFeatures, type Features, features, frechetDistanceOf, momentsOf, randomRows } from '../src/index.js';
import { pivotedCholesky } from '../src/linear-algebra/cholesky.js';
import { openImageSet } from '../src/node/index.js';

/** Scans of handwritten digits, 8 x 8. */
const DIGITS = fileURLToPath(new URL('../../../apps/trainer/data/digits', import.meta.url));
export const SIDE = 8;
const PIXELS = SIDE * SIDE;
/** Length of the features: the classifier's hidden layer. */
const HIDDEN = 24;

export interface Digits {
  /** `[count, 64]`, 0 ... 255. */
  pixels: Uint8Array;
  labels: readonly number[];
}

export async function readDigits(): Promise<Digits> {
  const set = await openImageSet(DIGITS);
  const pixels = new Uint8Array(set.count * PIXELS);
  let at = 0;
  for await (const { data, channels } of set.images()) for (let i = 0; i < data.length; i += channels) pixels[at++] = data[i];
  return { pixels, labels: set.labels! };
}

const batchOf = (pixels: Uint8Array): Pixels => ({
  data: pixels,
  count: pixels.length / PIXELS,
  height: SIDE,
  width: SIDE,
  channels: 1,
});

/** Pixels of the images with these numbers. */
export function select({ pixels }: Digits, rows: ArrayLike<number>): Uint8Array {
  const chosen = new Uint8Array(rows.length * PIXELS);
  for (let i = 0; i < rows.length; i++) chosen.set(pixels.subarray(rows[i] * PIXELS, (rows[i] + 1) * PIXELS), i * PIXELS);
  return chosen;
}

/** A classifier's hidden layer as an extractor, and how many of the images it classifies rightly. */
export interface Classifier {
  extract: ExtractFeatures<'pool'>;
  accuracy: number;
  dispose(): void;
}

/** Trains one hidden layer of rectified units on all images. */
export function trainClassifier({ pixels, labels }: Digits, steps = 200): Classifier {
  const variable = (purpose: string, rows: number, columns: number) =>
    tf.variable(
      tf.tensor2d(
        randomNormal({ seed: 1, purpose, index: 0 }, rows * columns).map((v) => v * Math.sqrt(2 / rows)),
        [rows, columns],
      ),
    );
  const hidden = variable('hidden', PIXELS, HIDDEN);
  const out = variable('out', HIDDEN, 10);
  const bias = tf.variable(tf.zeros([HIDDEN]));
  const layer = (x: tf.Tensor) => tf.relu(tf.add(tf.matMul(x as tf.Tensor2D, hidden as tf.Tensor2D), bias)) as tf.Tensor2D;
  const x = tf.div(tf.tensor2d(Float32Array.from(pixels), [labels.length, PIXELS]), 255) as tf.Tensor2D;
  const wanted = tf.tensor1d([...labels], 'int32');
  const targets = tf.oneHot(wanted, 10);
  const optimizer = tf.train.adam(0.02);
  for (let step = 0; step < steps; step++)
    optimizer.minimize(() => tf.losses.softmaxCrossEntropy(targets, tf.matMul(layer(x), out as tf.Tensor2D)) as tf.Scalar);
  const accuracy = tf.tidy(() => tf.mean(tf.equal(tf.argMax(tf.matMul(layer(x), out as tf.Tensor2D), 1), wanted)).dataSync()[0]);
  optimizer.dispose();
  tf.dispose([x, wanted, targets, out]);
  return {
    accuracy,
    extract: (images) => ({
      pool: tf.tidy(() => layer(tf.reshape(tf.div(tf.slice(images, [0, 0, 0, 0], [-1, -1, -1, 1]), 255), [-1, PIXELS]))),
    }),
    dispose: () => tf.dispose([hidden, bias]),
  };
}

/** Features of images. */
export async function featuresOf({ extract }: Classifier, pixels: Uint8Array): Promise<Features> {
  return (await collectFeatures([batchOf(pixels)], extract, { batch: 2000, moments: [] })).features.pool!;
}

/** Random halves of the images, of equal size. */
export function halves({ labels }: Digits, seed: number): [Int32Array, Int32Array] {
  const order = randomRows(labels.length, labels.length, seed, 'halves');
  const half = Math.floor(labels.length / 2);
  return [order.slice(0, half), order.slice(half, 2 * half)];
}

/** Mean distance of two sets of `count` vectors drawn from the normal distribution with the moments of `all`: what halves should have. */
export function expectedDistance(all: Features, count: number, repeats: number): number {
  const { mean, covariance } = momentsOf(all);
  const { dimension } = all;
  // Some units never fire, so the covariance is singular.
  const { rows: rank, data: factor } = pivotedCholesky(covariance);
  const draw = (index: number): Features => {
    const z = randomNormal({ seed: 1, purpose: 'expected', index }, count * rank);
    const values = new Float64Array(count * dimension);
    for (let n = 0; n < count; n++)
      for (let i = 0; i < dimension; i++) {
        let sum = mean[i];
        for (let r = 0; r < rank; r++) sum += factor[r * dimension + i] * z[n * rank + r];
        values[n * dimension + i] = sum;
      }
    return features(values, dimension);
  };
  let total = 0;
  for (let i = 0; i < repeats; i++) total += frechetDistanceOf(draw(2 * i), draw(2 * i + 1)).distance;
  return total / repeats;
}

/** Adds normal noise of this deviation in grey levels. */
export function withNoise(pixels: Uint8Array, deviation: number): Uint8Array {
  const noise = randomNormal({ seed: 1, purpose: 'noise', index: 0 }, pixels.length);
  return Uint8ClampedArray.from(pixels, (v, i) => v + deviation * noise[i]) as unknown as Uint8Array;
}

/** Blurs with a Gaussian of this deviation in pixels; the edge is repeated. */
export function withBlur(pixels: Uint8Array, deviation: number): Uint8Array {
  if (deviation === 0) return pixels;
  const reach = SIDE - 1;
  const kernel = Array.from({ length: 2 * reach + 1 }, (_, i) => Math.exp(-((i - reach) ** 2) / (2 * deviation ** 2)));
  const sum = kernel.reduce((a, b) => a + b, 0);
  const pass = (from: ArrayLike<number>, step: number): Float64Array =>
    Float64Array.from({ length: pixels.length }, (_, at) => {
      const place = Math.floor(at / step) % SIDE;
      let value = 0;
      for (let d = -reach; d <= reach; d++) {
        const other = Math.min(SIDE - 1, Math.max(0, place + d));
        value += kernel[d + reach] * from[at + (other - place) * step];
      }
      return value / sum;
    });
  return Uint8ClampedArray.from(pass(pass(pixels, 1), SIDE)) as unknown as Uint8Array;
}

/** As many rows as the smaller class group allows, of which this share (at least a half) are of the digits 0 to 4. */
export function imbalanced({ labels }: Digits, rows: Int32Array, share: number): Int32Array {
  const [low, high] = [rows.filter((row) => labels[row] < 5), rows.filter((row) => labels[row] >= 5)];
  const count = Math.min(low.length, high.length);
  const fromLow = Math.round(share * count);
  return Int32Array.from([...low.subarray(0, fromLow), ...high.subarray(0, count - fromLow)]);
}
